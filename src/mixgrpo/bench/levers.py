"""What each lever gives alone: turbo as it is, and with one of them undone, taken in turns."""

import statistics
from collections.abc import Mapping
from typing import Any

from ..config import Recipe
from .ground import Ground
from .lap import Lap, lap
from .waiting import Wait

UNDONE: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "turbo": {},
    "blocks not compiled": {"speed": {"compile": False}},
    "VAE not channels-last": {"speed": {"channels_last": False}},
    "optimizer not fused": {"speed": {"fused_optimizer": False}},
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
    for recipe in contenders.values():
        for number in range(2):  # compiles for both ways, then is warm
            lap(ground, recipe, number)
    for number in wait(range(repetitions * _ROUNDS)):
        for name, recipe in contenders.items():
            laps[name].append(lap(ground, recipe, number))
    whole = laps["turbo"]
    return {
        "rows": [
            {
                "lever": name,
                "model_seconds": statistics.mean(one.model_seconds for one in some),
                "model_time_ratio": sum(one.model_seconds for one in some) / sum(one.model_seconds for one in whole),
                "iteration_ratio": sum(one.seconds for one in some) / sum(one.seconds for one in whole),
            }
            for name, some in laps.items()
        ]
    }
