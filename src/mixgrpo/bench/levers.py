"""What each speed setting of turbo contributes: turbo with all of them, and with one at a time undone.

Model time is measured part by part. Iteration time is that of a real iteration, in which rewards overlap the rollout.

Variants that share a model take turns. Without compilation, channels-last layout or the fused optimizer the model is
another one, and a GPU may not hold two: those three are measured one after the other. A machine whose speed changes
meanwhile distorts their ratios to turbo.
"""

import statistics
import time
from collections.abc import Mapping
from typing import Any

from mixgrpo.recipe.schema import Recipe

from .progress import Track
from .setup import BenchSetup, by_policy
from .timing import IterationTiming, time_iteration

FULL = "turbo"
VARIANTS: dict[str, Mapping[str, Mapping[str, Any]]] = {
    FULL: {},
    "rewards not overlapped": {"speed": {"overlap_rewards": False}},
    "no shared computation": {"speed": {"share_computation": False}},
    "suffix not compressed": {"suffix": {"compress_ratio": 1.0}},
    "window of 4": {"window": {"size": 4}},
    "micro-batch of 12": {"rollout": {"micro_batch": 12}},
    "micro-batch of 1": {"rollout": {"micro_batch": 1}},
    "not compiled": {"speed": {"compile": False}},
    "VAE not channels-last": {"speed": {"channels_last": False}},
    "optimizer not fused": {"speed": {"fused_optimizer": False}},
}
_ROUNDS = 8  # per repetition: each has another window


def variants(setup: BenchSetup) -> dict[str, Recipe]:
    return {
        name: setup.recipe("turbo", **{**changes, "speed": {"compile": True, **changes.get("speed", {})}})
        for name, changes in VARIANTS.items()
    }


def measure(setup: BenchSetup, repetitions: int, track: Track) -> dict[str, Any]:
    recipes = variants(setup)
    timings: dict[str, list[IterationTiming]] = {name: [] for name in recipes}
    iterations: dict[str, list[float]] = {name: [] for name in recipes}
    rounds = range(repetitions * _ROUNDS)
    for group, number in track([(group, number) for group in by_policy(recipes) for number in rounds]):
        for name, recipe in group.items():
            if not timings[name]:
                for warmup in range(2):  # compiles for this number of rows, then for any number
                    time_iteration(setup, recipe, warmup)
            timings[name].append(time_iteration(setup, recipe, number))
            iterations[name].append(_iteration_seconds(setup, recipe, number))
    model_seconds = {name: statistics.mean(t.model_seconds for t in timings[name]) for name in recipes}
    iteration_seconds = {name: statistics.mean(iterations[name]) for name in recipes}
    return {
        "rows": [
            {
                "variant": name,
                "model_seconds": model_seconds[name],
                "model_time_ratio": model_seconds[name] / model_seconds[FULL],
                "iteration_seconds": iteration_seconds[name],
                "iteration_ratio": iteration_seconds[name] / iteration_seconds[FULL],
            }
            for name in recipes
        ]
    }


def _iteration_seconds(setup: BenchSetup, recipe: Recipe, number: int) -> float:
    trainer = setup.trainer(recipe)
    begin = time.perf_counter()
    trainer.run_iteration(number)
    return time.perf_counter() - begin
