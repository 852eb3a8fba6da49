"""How far the suffix can be compressed before it changes the ranking within a group.

From the same states after the window each suffix draws images of its own. Their rewards are ranked within the group
and compared with the ranking after the full suffix. A short suffix only pays if the ranking stays.
"""

import statistics
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from mixgrpo.data.prompts import batch
from mixgrpo.recipe.schema import Recipe
from mixgrpo.sampling.plan import History
from mixgrpo.sampling.steppers.ode import Solver

from .progress import Track
from .setup import BenchSetup

RATIOS = (0.6, 0.4, 0.2)
POSITIONS = (0, 4, 8, 12, 16, 20)


class Suffix(NamedTuple):
    solver: Solver
    compress_ratio: float
    history: History | None = None  # Euler's method has none


FULL = Suffix("euler", 1.0)
KINDS: tuple[tuple[Solver, History | None], ...] = (
    ("euler", None),
    ("dpm++2-midpoint", "trajectory"),
    ("dpm++2-midpoint", "suffix"),
)
SHORT = [Suffix(solver, ratio, history) for solver, history in KINDS for ratio in RATIOS]


def measure(setup: BenchSetup, repetitions: int, track: Track) -> dict[str, Any]:
    """A repetition is a batch of prompts at each position, a group of images per prompt."""
    positions = [position for position in POSITIONS if position < setup.steps - 1]
    correlations: dict[tuple[int, Suffix], list[float]] = {}
    means: dict[tuple[int, Suffix], list[float]] = {}
    for position, number in track([(position, number) for position in positions for number in range(repetitions)]):
        expected = group_rewards(setup, position, FULL, number)
        for suffix in (FULL, *SHORT):
            rewards = expected if suffix == FULL else group_rewards(setup, position, suffix, number)
            correlations.setdefault((position, suffix), []).extend(rank_correlations(expected, rewards))
            means.setdefault((position, suffix), []).append(rewards.mean().item())
    return {
        "rows": [
            {
                "position": position,
                **suffix._asdict(),
                "suffix_calls": _calls(setup, position, suffix),
                "rank_correlation": statistics.mean(values) if values else None,
                "groups": len(values),
                "reward": statistics.mean(means[position, suffix]),
            }
            for (position, suffix), values in correlations.items()
        ]
    }


def group_rewards(setup: BenchSetup, position: int, suffix: Suffix, iteration: int) -> Tensor:
    """[prompts, group size]: the weighted sum of the rewards. The noise is the iteration's, whatever the suffix."""
    recipe = _recipe(setup, position, suffix)
    trainer = setup.trainer(recipe)
    prompts = batch(trainer.prompts, iteration, recipe.rollout.prompts, recipe.seed)
    trainer.generate(iteration, trainer.plan_at(iteration), prompts, range(len(prompts)))
    scores = trainer.scorer.collect().values
    weighted = torch.stack([weight * scores[name] for name, weight in recipe.weights.items()]).sum(0)
    return weighted.view(len(prompts), -1)


def rank_correlations(expected: Tensor, rewards: Tensor) -> list[float]:
    """Spearman's, of each group [prompts, group size] whose expected rewards differ; 0 if the others do not."""
    return [
        float(stats.spearmanr(full.numpy(), short.numpy()).statistic) if short.unique().numel() > 1 else 0.0
        for full, short in zip(expected, rewards, strict=True)
        if full.unique().numel() > 1
    ]


def _recipe(setup: BenchSetup, position: int, suffix: Suffix) -> Recipe:
    window = {"strategy": "frozen", "size": 1, "range": [position, position + 1]}
    given = {key: value for key, value in suffix._asdict().items() if value is not None}
    return setup.recipe("turbo", window=window, suffix=given)


def _calls(setup: BenchSetup, position: int, suffix: Suffix) -> int:
    """Model calls after the window."""
    plan = setup.trainer(_recipe(setup, position, suffix)).plan_at(0)
    return len(plan.steps) - position - 1
