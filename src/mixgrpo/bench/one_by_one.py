"""Each algorithm as it runs here, and one image at a time with nothing shared, as the public trainers run it."""

import statistics
from typing import Any

from .progress_bar import Wait
from .setup import Ground
from .timing import Lap, lap

_POSITIONS = (0, 5, 10, 15, 20)  # of the sliding windows


def measure(ground: Ground, repetitions: int, wait: Wait) -> dict[str, Any]:
    pairs = {
        name: (
            ground.recipe(algorithm),
            ground.recipe(algorithm, rollout={"micro_batch": 1}, speed={"share": False}),
        )
        for name, algorithm in ground.contenders.items()
    }
    laps: dict[str, list[tuple[Lap, Lap]]] = {name: [] for name in pairs}
    for ours, alone in pairs.values():
        lap(ground, ours, 0)
        lap(ground, alone, 0)
    for position in wait([*_POSITIONS] * repetitions):
        for name, (ours, alone) in pairs.items():
            laps[name].append((lap(ground, ours, position), lap(ground, alone, position)))
    return {
        "rows": [
            {
                "contender": name,
                "seconds": statistics.mean(ours.model_seconds for ours, _ in both),
                "one_by_one_seconds": statistics.mean(alone.model_seconds for _, alone in both),
                "times_faster": sum(alone.model_seconds for _, alone in both)
                / sum(ours.model_seconds for ours, _ in both),
            }
            for name, both in laps.items()
        ]
    }
