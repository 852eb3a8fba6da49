"""What an iteration of each algorithm costs, side by side on one model.

Round after round every contender runs one iteration, so that a machine that slows down slows all of them. A round
stands for one position of the sliding windows; a repetition is a whole slide.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from mixgrpo.recipe.schema import Recipe

from .flops import achieved, flops_a_row, matrix_rate
from .progress_bar import Wait
from .setup import YARDSTICK, Ground, published_ratio
from .timing import Lap, lap

_WINDOW = 4  # steps of the sliding windows, the last of which ends before the last step
PARTS = ("rollout", "decode", "reward", "update")


def measure(ground: Ground, repetitions: int, wait: Wait) -> dict[str, Any]:
    recipes = {name: ground.recipe(algorithm) for name, algorithm in ground.contenders.items()}
    if ground.compile and "turbo" in recipes:
        recipes["turbo, compiled"] = ground.recipe("turbo", speed={"compile": True})
    slide = ground.steps - _WINDOW  # its positions
    laps: dict[str, list[Lap]] = {name: [] for name in recipes}
    peaks = {}
    for name, recipe in recipes.items():
        lap(ground, recipe, 0)  # warms up: kernels; compiles for this many rows
        peaks[name] = lap(ground, recipe, 1, memory=True).peak_mib  # and for any
    for number in wait(range(repetitions * slide)):
        for name, recipe in recipes.items():
            laps[name].append(lap(ground, recipe, number % slide))
    row = flops_a_row(ground, ground.trainer(recipes[YARDSTICK]))
    return {
        "rounds_a_repetition": slide,
        "gflops_a_row": row / 1e9,
        "matrix_tflops": matrix_rate(ground.device, getattr(torch, ground.base.model.dtype)) / 1e12,
        "contenders": {
            name: {
                **_summary(laps[name], laps[YARDSTICK], recipe, slide),
                "tflops": _tflops(laps[name], row, recipe),
                "peak_mib": peaks[name],
            }
            for name, recipe in recipes.items()
        },
    }


def _tflops(laps: Sequence[Lap], row: int, recipe: Recipe) -> dict[str, float]:
    rates = [achieved(one, row, recipe) for one in laps]
    names = ("rollout", "update")
    return {name: statistics.median(rate[i] for rate in rates) / 1e12 for i, name in enumerate(names)}


def _summary(laps: Sequence[Lap], yardstick: Sequence[Lap], recipe: Recipe, slide: int) -> dict[str, Any]:
    images = recipe.rollout.prompts * recipe.rollout.group_size
    return {
        "algorithm": recipe.algorithm,
        "calls_per_image": {
            "rollout": statistics.mean(one.rollout_rows for one in laps) / images,
            "update": statistics.mean(one.update_rows for one in laps) / images,
        },
        "seconds": {part: statistics.median(getattr(one, part) for one in laps) for part in PARTS},
        "images_per_second": images / statistics.mean(one.seconds for one in laps),
        "model_time_ratio": _ratio(laps, yardstick, slide, lambda one: one.model_seconds),
        "iteration_ratio": _ratio(laps, yardstick, slide, lambda one: one.seconds),
        "published_ratio": published_ratio(recipe.algorithm),
        "laps": [asdict(one) for one in laps],
    }


def _ratio(
    laps: Sequence[Lap], yardstick: Sequence[Lap], slide: int, seconds: Callable[[Lap], float]
) -> Mapping[str, float]:
    """Of the means over a slide, slide by slide."""
    ratios = [
        sum(map(seconds, laps[start : start + slide])) / sum(map(seconds, yardstick[start : start + slide]))
        for start in range(0, len(laps), slide)
    ]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
