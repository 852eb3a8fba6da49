"""What each algorithm learns in the same time, from the same start, on held-out prompts.

Every algorithm trains with every seed for the same number of seconds; evaluations stop the clock. The curves tell how
long each takes to the reward that the baseline ends with. Further recipes can be compared as they are.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt, spread
from mixgrpo.data.sources import evaluation_prompts
from mixgrpo.recipe.load import load_recipe, resolve
from mixgrpo.recipe.presets import PRESET_SECTIONS, Algorithm
from mixgrpo.recipe.schema import Recipe
from mixgrpo.runs.evaluation import per_kind
from mixgrpo.runs.intervals import t_half_width
from mixgrpo.training.trainer import Trainer

from .algorithms import BASELINE
from .progress import Track
from .setup import BenchSetup
from .training import new_trainer, scores_of

_EVALUATIONS = 6  # after the one before training
EQUAL_TERMS = ("update.schedule=constant", "update.warmup_iterations=0", "update.ema_decay=null")
"""A decaying learning rate, a warm-up and an average of weights favour those that make as many iterations as the
recipe plans.
"""


class EvalPoint(NamedTuple):
    seconds: float
    iterations: int
    reward: float


@dataclass(frozen=True)
class Training:
    curve: list[EvalPoint]
    gains: Tensor
    """[prompts]: the scores after training minus those before."""


def measure(setup: BenchSetup, seeds: int, track: Track) -> dict[str, Any]:
    recipes = [recipes_of(setup, seed) for seed in range(seeds)]
    prompts = spread(evaluation_prompts(setup.base.prompts.evaluation), setup.base.evaluation.prompts)
    reward = [*setup.base.weights][-1]  # the last of several is the one that counts
    trainings: dict[str, list[Training]] = {name: [] for name in recipes[0]}
    before = _scores(setup, recipes[0][BASELINE], prompts, reward)
    for seed, name in track([(seed, name) for seed in range(seeds) for name in recipes[0]]):
        trainings[name].append(train(setup, recipes[seed][name], prompts, reward, before))
    target = statistics.mean(training.curve[-1].reward for training in trainings[BASELINE])
    return {
        "prompts": setup.base.rollout.prompts,
        "group_size": setup.base.rollout.group_size,
        "reward": reward,
        "seconds": setup.seconds,
        "target": target,
        "algorithms": {name: _summary(runs, prompts, target, setup.seconds) for name, runs in trainings.items()},
    }


def recipes_of(setup: BenchSetup, seed: int) -> dict[str, Recipe]:
    return {
        **{name: _with_algorithm(setup, algorithm, seed) for name, algorithm in setup.algorithms.items()},
        **{source: _as_it_is(setup, source, seed) for source in setup.recipes},
    }


def _with_algorithm(setup: BenchSetup, algorithm: Algorithm, seed: int) -> Recipe:
    base = setup.base
    if setup.learning_rate is None and base.objective.type != "clipped-ratio":
        raise ValueError(
            f"--learning-rate is missing: the recipe's, {base.update.learning_rate:g}, was tuned for objective.type = "
            f"{base.objective.type}; the algorithms that are compared need a lower one"
        )
    data = base.model_dump(exclude={*PRESET_SECTIONS})
    del data["objective"]["type"]
    data["update"]["learning_rate"] = setup.learning_rate or base.update.learning_rate
    if not setup.own_grid:
        data["grid"] = setup.grid
    return resolve({**data, "algorithm": algorithm, "seed": seed}, EQUAL_TERMS)


def _as_it_is(setup: BenchSetup, source: str, seed: int) -> Recipe:
    """A recipe with an objective, grid and learning rate of its own, on what all have in common."""
    common = setup.base.model_dump(include={"model", "prompts", "rewards", "evaluation"})
    return resolve({**load_recipe(source).model_dump(), **common, "seed": seed}, EQUAL_TERMS)


def train(setup: BenchSetup, recipe: Recipe, prompts: Sequence[Prompt], reward: str, before: Tensor) -> Training:
    """`before`: the scores before training, the same for all."""
    trainer = _new_trainer(setup, recipe)
    spent, scores, curve = 0.0, before, [EvalPoint(0.0, 0, before.nanmean().item())]
    for number in range(_EVALUATIONS):
        while spent < setup.seconds * (number + 1) / _EVALUATIONS:
            begin = time.perf_counter()
            trainer.iterate()
            spent += time.perf_counter() - begin
        scores = scores_of(trainer, prompts, reward)
        curve.append(EvalPoint(spent, trainer.iteration, scores.nanmean().item()))
    return Training(curve, scores - before)


def _scores(setup: BenchSetup, recipe: Recipe, prompts: Sequence[Prompt], reward: str) -> Tensor:
    """Of the model before training."""
    return scores_of(_new_trainer(setup, recipe), prompts, reward)


def _new_trainer(setup: BenchSetup, recipe: Recipe) -> Trainer:
    setup.release()
    return new_trainer(recipe, setup.load(recipe.model, setup.device), setup.rewards)


def _summary(runs: Sequence[Training], prompts: Sequence[Prompt], target: float, seconds: float) -> dict[str, Any]:
    times = [time_to(run.curve, target) for run in runs]
    reached = [time for time in times if time is not None]
    by_kind = per_kind(torch.stack([run.gains for run in runs]).mean(0), prompts)
    return {
        "gain": interval([run.curve[-1].reward - run.curve[0].reward for run in runs]),
        # Intervals over prompts, of the gains averaged over seeds.
        "gain_by_kind": {kind: asdict(gain) for kind, gain in by_kind.items()},
        "iterations": statistics.mean(run.curve[-1].iterations for run in runs),
        "seconds_to_target": times,
        # Relative to the time that the baseline had; only if every seed reached the target.
        "time_fraction": interval([time / seconds for time in reached]) if len(reached) == len(runs) else None,
        "curves": [[point._asdict() for point in run.curve] for run in runs],
    }


def time_to(curve: Sequence[EvalPoint], target: float) -> float | None:
    """Seconds until the reward first reaches the target, by linear interpolation; None if it never does."""
    if curve[0].reward >= target:
        return 0.0
    for before, after in pairwise(curve):
        if after.reward >= target:
            fraction = (target - before.reward) / (after.reward - before.reward)
            return before.seconds + fraction * (after.seconds - before.seconds)
    return None


def interval(values: Sequence[float]) -> dict[str, float | None]:
    """The mean over seeds, and half the width of its 95% interval."""
    return {"mean": statistics.mean(values), "half_width": t_half_width(values)}
