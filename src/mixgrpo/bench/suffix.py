"""How few steps after the window still tell a group's images apart as all of them would.

From the same states after the window each suffix draws its own pictures; their rewards are ranked within the group
and compared with the ranks after the full suffix. A turbo is only worth having where the order stays.
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

from .progress_bar import Wait
from .setup import Ground

RATIOS = (0.6, 0.4, 0.2)
POSITIONS = (0, 4, 8, 12, 16, 20)


class Suffix(NamedTuple):
    solver: Solver
    compress_ratio: float
    history: History


def measure(ground: Ground, repetitions: int, wait: Wait) -> dict[str, Any]:
    """A repetition is a batch of prompts at each position, from each of them a group."""
    positions = [position for position in POSITIONS if position < ground.steps - 1]
    full = Suffix("euler", 1.0, "suffix")
    kinds: list[tuple[Solver, History]] = [
        ("euler", "suffix"),
        ("dpm++2-midpoint", "trajectory"),
        ("dpm++2-midpoint", "suffix"),
    ]
    short = [Suffix(solver, ratio, history) for solver, history in kinds for ratio in RATIOS]
    orders: dict[tuple[int, Suffix], list[float]] = {}
    means: dict[tuple[int, Suffix], list[float]] = {}
    for position, number in wait([(position, number) for position in positions for number in range(repetitions)]):
        expected = _rewards(ground, position, full, number)
        for suffix in (full, *short):
            rewards = expected if suffix == full else _rewards(ground, position, suffix, number)
            orders.setdefault((position, suffix), []).extend(rank_correlations(expected, rewards))
            means.setdefault((position, suffix), []).append(rewards.mean().item())
    return {
        "rows": [
            {
                "position": position,
                **suffix._asdict(),
                "suffix_calls": _calls(ground, position, suffix),
                "rank_correlation": statistics.mean(values) if values else None,
                "groups": len(values),
                "reward": statistics.mean(means[position, suffix]),
            }
            for (position, suffix), values in orders.items()
        ]
    }


def _recipe(ground: Ground, position: int, suffix: Suffix) -> Recipe:
    window = {"strategy": "frozen", "size": 1, "range": [position, position + 1]}
    return ground.recipe("turbo", window=window, suffix=suffix._asdict())


def _calls(ground: Ground, position: int, suffix: Suffix) -> int:
    recipe = _recipe(ground, position, suffix)
    return len(recipe.plan_at(0, ground.trainer(recipe).grid).steps) - position - 1


def _rewards(ground: Ground, position: int, suffix: Suffix, iteration: int) -> Tensor:
    """[prompts, images], the recipe's rewards by their weights. The noise is the iteration's, whatever the suffix."""
    recipe = _recipe(ground, position, suffix)
    trainer = ground.trainer(recipe)
    trainer.iteration = iteration
    prompts = batch(trainer.prompts, iteration, recipe.rollout.prompts, recipe.seed)
    images = [prompt for prompt in prompts for _ in range(recipe.rollout.group_size)]
    trainer.sample(
        recipe.plan_at(iteration, trainer.grid),
        trainer.encode([prompt.text for prompt in prompts]),
        range(len(prompts)),
        lambda rows, latents: trainer.scorer.submit(trainer.model.decode(latents), images[rows]),
    )
    scores = trainer.scorer.collect().values
    weighed = torch.stack([weight * scores[name] for name, weight in recipe.weights.items()]).sum(0)
    return weighed.view(len(prompts), -1)


def rank_correlations(expected: Tensor, rewards: Tensor) -> list[float]:
    """Spearman's, of each group that the full suffix tells apart, [prompts, images]; 0 where nothing of it is left."""
    return [
        float(stats.spearmanr(full.numpy(), other.numpy()).statistic) if other.unique().numel() > 1 else 0.0
        for full, other in zip(expected, rewards, strict=True)
        if full.unique().numel() > 1
    ]
