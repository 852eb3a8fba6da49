"""What each lever gives alone: turbo as it is, and with one of them undone, taken in turns.

Model time is a lap's, part after part; the iteration is a real one, in which rewards are computed beside the rollout.
"""

import statistics
import time
from collections.abc import Mapping
from typing import Any

from mixgrpo.recipe.schema import Recipe

from .progress_bar import Wait
from .setup import Ground
from .timing import Lap, lap

UNDONE: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "turbo": {},
    "blocks not compiled": {"speed": {"compile": False}},
    "VAE not channels-last": {"speed": {"channels_last": False}},
    "optimizer not fused": {"speed": {"fused_optimizer": False}},
    "rewards after the images": {"speed": {"overlap_rewards": False}},
    "nothing shared": {"speed": {"share": False}},
    "suffix not compressed": {"suffix": {"compress_ratio": 1.0}},
    "a window of four": {"window": {"size": 4}},
    "one group at a time": {"rollout": {"micro_batch": 12}},
    "one image at a time": {"rollout": {"micro_batch": 1}},
}
_ROUNDS = 8  # of a repetition: the window is elsewhere in each


def recipes(ground: Ground) -> dict[str, Recipe]:
    return {
        name: ground.recipe("turbo", **{**changes, "speed": {"compile": True, **changes.get("speed", {})}})
        for name, changes in UNDONE.items()
    }


def measure(ground: Ground, repetitions: int, wait: Wait) -> dict[str, Any]:
    contenders = recipes(ground)
    laps: dict[str, list[Lap]] = {name: [] for name in contenders}
    iterations: dict[str, list[float]] = {name: [] for name in contenders}
    for recipe in wait([*contenders.values()]):
        for number in range(2):  # compiles for both ways, then is warm
            lap(ground, recipe, number)
    for number in wait(range(repetitions * _ROUNDS)):
        for name, recipe in contenders.items():
            laps[name].append(lap(ground, recipe, number))
            iterations[name].append(_iteration(ground, recipe, number))
    whole = laps["turbo"]
    return {
        "rows": [
            {
                "lever": name,
                "model_seconds": statistics.mean(one.model_seconds for one in some),
                "model_time_ratio": sum(one.model_seconds for one in some) / sum(one.model_seconds for one in whole),
                "iteration_seconds": statistics.mean(iterations[name]),
                "iteration_ratio": sum(iterations[name]) / sum(iterations["turbo"]),
            }
            for name, some in laps.items()
        ]
    }


def _iteration(ground: Ground, recipe: Recipe, number: int) -> float:
    trainer = ground.trainer(recipe)
    trainer.iteration = number
    begin = time.perf_counter()
    trainer.iterate()
    return time.perf_counter() - begin
