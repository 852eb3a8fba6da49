"""How good a model is on prompts it was not trained on: deterministic pictures, scored, per kind of prompt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import FlowModel, VelocityField
from mixgrpo.rewards.entry import ScoringConfig
from mixgrpo.rewards.reward import Reward
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import ode_plan
from mixgrpo.sampling.rollout import rollout
from mixgrpo.training.scoring import Scorer, stop_if_too_many_failed


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval, normal approximation."""

    mean: float
    half_width: float
    count: int


@torch.no_grad()
def draw_pictures(
    model: FlowModel,
    prompts: Sequence[Prompt],
    *,
    steps: int,
    seed: int,
    micro_batch: int,
    prompt_ids: Sequence[int] | None = None,
    field: VelocityField | None = None,
) -> list[Tensor]:
    """One image [3, height, width] a prompt, by Euler steps on the model's own grid; the noise is decided by
    the seed and the prompt's position, or its id. `field`: another velocity to follow than the model's own.
    """
    images: list[Tensor] = []
    rollout(
        field or model,
        ode_plan(model.grid(steps)),
        model.encode([prompt.text for prompt in prompts]),
        KeyedNoise(seed, 0, model.latent_shape),
        group_size=1,
        micro_batch=micro_batch,
        shared_noise=False,
        prompt_ids=prompt_ids,
        finished=lambda rows, latents: images.extend(model.decode(latents)),
    )
    return images


def score(
    images: Sequence[Tensor], prompts: Sequence[Prompt], rewards: Mapping[str, Reward], settings: ScoringConfig
) -> dict[str, Tensor]:
    """One number an image and reward, NaN where a score failed."""
    scorer = Scorer(rewards, settings)
    scorer.submit(torch.stack([*images]), prompts)
    scored = scorer.collect()
    stop_if_too_many_failed(scored, settings.stop_above)
    return scored.values


def per_kind(scores: Tensor, prompts: Sequence[Prompt]) -> dict[str, Estimate]:
    """By the metadata `kind`, where prompts have one; and overall."""
    kinds = [prompt.metadata.get("kind") for prompt in prompts]
    groups = {kind: [i for i, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds) if kind}
    return {name: estimate(scores[rows]) for name, rows in {**groups, "overall": [*range(len(prompts))]}.items()}


def estimate(values: Tensor) -> Estimate:
    """Of values that may hold NaN, which are left out."""
    known = values[values.isfinite()]
    deviation = known.std().item() if len(known) > 1 else 0.0
    return Estimate(known.mean().item(), 1.96 * deviation / math.sqrt(max(1, len(known))), len(known))
