"""What an iteration of each algorithm costs, side by side on one model.

The algorithms take turns, an iteration each per round, so that a machine that slows down slows all of them. A round is
one position of the sliding windows; a repetition covers all positions. Compiled turbo needs a model of its own and is
measured after the others.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from mixgrpo.recipe.schema import Recipe

from .algorithms import BASELINE, published_ratio
from .flops import achieved, flops_per_row, matrix_rate
from .progress import Track
from .setup import BenchSetup, by_policy
from .timing import IterationTiming, time_iteration

PARTS = ("rollout", "decode", "reward", "update")
_WINDOW = 4  # size of the sliding windows


def measure(setup: BenchSetup, repetitions: int, track: Track) -> dict[str, Any]:
    recipes = {name: setup.recipe(algorithm) for name, algorithm in setup.algorithms.items()}
    if setup.compile and "turbo" in recipes:
        recipes["turbo, compiled"] = setup.recipe("turbo", speed={"compile": True})
    positions = setup.steps - _WINDOW  # the last window ends before the last step
    flops = flops_per_row(setup.trainer(recipes[BASELINE]))
    timings: dict[str, list[IterationTiming]] = {name: [] for name in recipes}
    peaks: dict[str, float | None] = {}
    rounds = range(repetitions * positions)
    for group, number in track([(group, number) for group in by_policy(recipes) for number in rounds]):
        for name, recipe in group.items():
            if name not in peaks:
                time_iteration(setup, recipe, 0)  # warm-up; compiles for this number of rows
                peaks[name] = time_iteration(setup, recipe, 1, memory=True).peak_mib  # and for any number
            timings[name].append(time_iteration(setup, recipe, number % positions))
    return {
        "rounds_per_repetition": positions,
        "gflops_per_row": flops / 1e9,
        "matrix_tflops": matrix_rate(setup.device, getattr(torch, setup.base.model.dtype)) / 1e12,
        "algorithms": {
            name: {
                **_summary(timings[name], timings[BASELINE], recipe, positions),
                "tflops": _tflops(timings[name], flops, recipe),
                "peak_mib": peaks[name],
            }
            for name, recipe in recipes.items()
        },
    }


def _tflops(timings: Sequence[IterationTiming], flops: int, recipe: Recipe) -> dict[str, float]:
    rates = [achieved(timing, flops, recipe) for timing in timings]
    return {part: statistics.median(rate[part] for rate in rates) / 1e12 for part in ("rollout", "update")}


def _summary(
    timings: Sequence[IterationTiming], baseline: Sequence[IterationTiming], recipe: Recipe, positions: int
) -> dict[str, Any]:
    images = recipe.rollout.prompts * recipe.rollout.group_size
    return {
        "algorithm": recipe.algorithm,
        "calls_per_image": {
            "rollout": statistics.mean(timing.rollout_rows for timing in timings) / images,
            "update": statistics.mean(timing.update_rows for timing in timings) / images,
        },
        "seconds": {part: statistics.median(getattr(timing, part) for timing in timings) for part in PARTS},
        "images_per_second": images / statistics.mean(timing.seconds for timing in timings),
        "model_time_ratio": time_ratio(timings, baseline, positions, lambda timing: timing.model_seconds),
        "iteration_ratio": time_ratio(timings, baseline, positions, lambda timing: timing.seconds),
        "published_ratio": published_ratio(recipe.algorithm),
        "timings": [asdict(timing) for timing in timings],
    }


def time_ratio(
    timings: Sequence[IterationTiming],
    baseline: Sequence[IterationTiming],
    positions: int,
    seconds: Callable[[IterationTiming], float],
) -> dict[str, float]:
    """The time relative to the baseline's, each summed over a repetition: the median and the extremes."""
    ratios = [
        sum(map(seconds, timings[start : start + positions])) / sum(map(seconds, baseline[start : start + positions]))
        for start in range(0, len(timings), positions)
    ]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
