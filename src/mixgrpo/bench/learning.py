"""What each algorithm has learned after the same time, from the same start, on prompts that it never trained on.

Every contender trains with every seed for the same seconds; evaluations stop the clock. From the curves follows how
long each takes to the reward that DanceGRPO ends with.
"""

import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from scipy import stats

from mixgrpo.data.prompts import Prompt, evaluation_prompts, spread, train_prompts
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.runs.evaluation import draw_pictures, score
from mixgrpo.training.trainer import Trainer

from .progress_bar import Wait
from .setup import YARDSTICK, Ground

_LOOKS = 6  # after the one before training


class Look(NamedTuple):
    seconds: float
    iterations: int
    reward: float


def measure(ground: Ground, seeds: int, wait: Wait) -> dict[str, Any]:
    curves: dict[str, list[list[Look]]] = {name: [] for name in ground.contenders}
    start: Look | None = None
    for seed, name in wait([(seed, name) for seed in range(seeds) for name in ground.contenders]):
        curve = _train(ground, ground.learner(ground.contenders[name], seed), start)
        start = curve[0]
        curves[name].append(curve)
    target = statistics.mean(curve[-1].reward for curve in curves[YARDSTICK])
    return {
        "prompts": ground.base.rollout.prompts,
        "group_size": ground.base.rollout.group_size,
        "reward": ground.judged_by,
        "seconds": ground.seconds,
        "target": target,
        "contenders": {name: _summary(some, target, ground.seconds) for name, some in curves.items()},
    }


def _train(ground: Ground, recipe: Recipe, start: Look | None) -> list[Look]:
    """`start`: the look before training, which is the same for all."""
    prompts = train_prompts(recipe.prompts.train, recipe.seed, recipe.iterations * recipe.rollout.prompts)
    trainer = Trainer(recipe, ground.load(recipe, ground.device), find_rewards(recipe.rewards), prompts)
    evaluated_on = spread(evaluation_prompts(recipe.prompts.evaluation), recipe.evaluation.prompts)
    spent, curve = 0.0, [start or Look(0.0, 0, _reward(trainer, evaluated_on, ground.judged_by))]
    for number in range(_LOOKS):
        while spent < ground.seconds * (number + 1) / _LOOKS:
            begin = time.perf_counter()
            trainer.iterate()
            spent += time.perf_counter() - begin
        curve.append(Look(spent, trainer.iteration, _reward(trainer, evaluated_on, ground.judged_by)))
    return curve


def _reward(trainer: Trainer, prompts: Sequence[Prompt], judge: str) -> float:
    recipe = trainer.recipe
    with trainer.averaged(), trainer.precision():
        pictures = draw_pictures(
            trainer.model,
            prompts,
            steps=recipe.evaluation.steps,
            seed=0,
            micro_batch=recipe.rollout.micro_batch,
        )
    return score(pictures, prompts, {judge: trainer.rewards[judge]}, recipe.scoring)[judge].nanmean().item()


def _summary(curves: Sequence[Sequence[Look]], target: float, seconds: float) -> dict[str, Any]:
    arrivals = [arrival(curve, target) for curve in curves]
    arrived = [at for at in arrivals if at is not None]
    return {
        "gain": interval([curve[-1].reward - curve[0].reward for curve in curves]),
        "iterations": statistics.mean(curve[-1].iterations for curve in curves),
        "seconds_to_target": arrivals,
        # Of the time that the yardstick had; only where every seed arrived.
        "share_of_the_time": interval([at / seconds for at in arrived]) if len(arrived) == len(curves) else None,
        "curves": [[look._asdict() for look in curve] for curve in curves],
    }


def arrival(curve: Sequence[Look], target: float) -> float | None:
    """Seconds until the reward first is `target`, straight between looks; None if it never is."""
    if curve[0].reward >= target:
        return 0.0
    for before, after in pairwise(curve):
        if after.reward >= target:
            share = (target - before.reward) / (after.reward - before.reward)
            return before.seconds + share * (after.seconds - before.seconds)
    return None


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """The mean over seeds, and half the width of its 95% interval by Student's t."""
    if len(values) < 2:
        return {"mean": values[0], "half_width": None}
    half_width = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return {"mean": statistics.mean(values), "half_width": float(half_width)}
