"""How good a model is on held-out prompts: deterministic images, scored, per kind of prompt."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.sections import ScoringConfig
from mixgrpo.rewards.reward import Reward
from mixgrpo.training.scoring import Scorer, stop_if_too_many_failed

from .intervals import normal_half_width


@dataclass(frozen=True)
class Evaluation:
    scores: dict[str, Tensor]
    """One number per prompt and reward; NaN if the score failed."""
    shown: dict[int, Tensor]
    """The frames [frames, 3, height, width] of the prompts to show, by the prompt's number."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval, in the normal approximation."""

    mean: float
    half_width: float
    count: int


def evaluate(
    images: Iterable[tuple[range, Tensor]],
    prompts: Sequence[Prompt],
    rewards: Mapping[str, Reward],
    settings: ScoringConfig,
    *,
    overlap: bool = True,
    show: Collection[int] = (),
) -> Evaluation:
    """Score a stream of images, of which only those to show are kept."""
    scorer = Scorer(rewards, settings, overlap)
    shown: dict[int, Tensor] = {}
    try:
        for numbers, pixels in images:
            scorer.submit(pixels, [prompts[i] for i in numbers])
            shown |= {i: frames.cpu() for i, frames in zip(numbers, pixels, strict=True) if i in show}
        scored = scorer.collect()
    finally:
        scorer.close()
    stop_if_too_many_failed(scored, settings.max_failed_fraction)
    return Evaluation(scored.values, shown)


def joined(parts: Sequence[Evaluation], rewards: Iterable[str]) -> Evaluation:
    """Of all processes, whose prompts follow each other. One without a prompt has no scores."""
    scores = {name: torch.cat([part.scores[name] for part in parts if name in part.scores]) for name in rewards}
    counts = [max(map(len, part.scores.values()), default=0) for part in parts]
    firsts = accumulate(counts, initial=0)
    shown = {first + i: frames for first, part in zip(firsts, parts, strict=False) for i, frames in part.shown.items()}
    return Evaluation(scores, shown)


def per_kind(scores: Tensor, prompts: Sequence[Prompt]) -> dict[str, Estimate]:
    """By the metadata `kind`, for prompts that have one, and overall."""
    kinds = [prompt.metadata.get("kind") for prompt in prompts]
    groups = {kind: [i for i, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds) if kind}
    return {name: estimate(scores[rows]) for name, rows in {**groups, "overall": [*range(len(prompts))]}.items()}


def weighted_total(means: Mapping[str, Mapping[str, float]], weights: Mapping[str, float]) -> float:
    """The weighted sum of mean rewards over all prompts."""
    return sum(weight * means[name]["overall"] for name, weight in weights.items())


def estimate(values: Tensor) -> Estimate:
    """NaN is left out."""
    known = values[values.isfinite()].double().tolist()
    return Estimate(sum(known) / len(known) if known else math.nan, normal_half_width(known), len(known))
