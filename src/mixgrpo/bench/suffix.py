"""How few steps after the window still tell a group's images apart as all of them would.

From the same states after the window each suffix draws its own pictures; their rewards are ranked within the group
and compared with the ranks after the full suffix. A turbo is only worth having where the order stays.
"""

import statistics
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from ..config import Recipe
from ..data import batch
from ..plan import suffix_calls
from .ground import Ground
from .waiting import Wait

SOLVERS = ("euler", "dpm++2-midpoint")
RATIOS = (0.6, 0.4, 0.2, 0.1)
POSITIONS = (0, 4, 8, 12, 16, 20)


def measure(ground: Ground, repetitions: int, wait: Wait) -> dict[str, Any]:
    """A repetition is a batch of prompts at each position, from each of them a group."""
    positions = [position for position in POSITIONS if position < ground.steps - 1]
    compressed = [(solver, ratio) for solver in SOLVERS for ratio in RATIOS]
    orders: dict[tuple[int, str, float], list[float]] = {}
    means: dict[tuple[int, str, float], list[float]] = {}
    for position, number in wait([(position, number) for position in positions for number in range(repetitions)]):
        expected = _rewards(ground, _recipe(ground, position, "euler", 1.0), number)
        for solver, ratio in [("euler", 1.0), *compressed]:
            rewards = expected if ratio == 1 else _rewards(ground, _recipe(ground, position, solver, ratio), number)
            orders.setdefault((position, solver, ratio), []).extend(rank_correlations(expected, rewards))
            means.setdefault((position, solver, ratio), []).append(rewards.mean().item())
    return {
        "rows": [
            {
                "position": position,
                "solver": solver,
                "compress_ratio": ratio,
                "suffix_calls": suffix_calls(ground.steps, position + 1, ratio)
                if ratio < 1
                else ground.steps - position - 1,
                "rank_correlation": statistics.mean(values) if values else None,
                "groups": len(values),
                "reward": statistics.mean(means[position, solver, ratio]),
            }
            for (position, solver, ratio), values in orders.items()
        ]
    }


def _recipe(ground: Ground, position: int, solver: str, ratio: float) -> Recipe:
    return ground.recipe(
        "turbo",
        window={"strategy": "frozen", "size": 1, "range": [position, position + 1]},
        suffix={"solver": solver, "compress_ratio": ratio},
    )


def _rewards(ground: Ground, recipe: Recipe, iteration: int) -> Tensor:
    """[prompts, images], the recipe's rewards by their weights. The noise is the iteration's, whatever the suffix."""
    trainer = ground.trainer(recipe)
    trainer.recipe, trainer.iteration = recipe, iteration
    prompts, size = batch(trainer.prompts, iteration, recipe.rollout.prompts, recipe.seed), recipe.rollout.group_size

    def finished(rows: slice, latents: Tensor) -> None:
        trainer.scorer.submit(
            trainer.model.decode(latents), [prompts[n // size] for n in range(len(prompts) * size)[rows]]
        )

    told = ground.encode(trainer.model, [prompt.text for prompt in prompts])
    trainer.sample(recipe.plan_at(iteration, trainer.grid), told, range(len(prompts)), finished)
    values = trainer.scorer.collect().values
    return (
        torch.stack([weight * values[name] for name, weight in recipe.weights.items()]).sum(0).view(len(prompts), size)
    )


def rank_correlations(expected: Tensor, rewards: Tensor) -> list[float]:
    """Spearman's, of each group that the full suffix tells apart, [prompts, images]; 0 where nothing of it is left."""
    return [
        float(stats.spearmanr(full.numpy(), other.numpy()).statistic) if other.unique().numel() > 1 else 0.0
        for full, other in zip(expected, rewards, strict=True)
        if full.unique().numel() > 1
    ]
