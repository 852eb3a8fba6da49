"""Each algorithm as it runs here, and one image at a time with nothing shared, as the public trainers run it."""

import statistics
from typing import Any

from .progress import Track
from .setup import BenchSetup
from .timing import IterationTiming, time_iteration

_POSITIONS = (0, 5, 10, 15, 20)  # of the sliding windows


def measure(setup: BenchSetup, repetitions: int, track: Track) -> dict[str, Any]:
    pairs = {
        name: (
            setup.recipe(algorithm),
            setup.recipe(algorithm, rollout={"micro_batch": 1}, speed={"share_computation": False}),
        )
        for name, algorithm in setup.algorithms.items()
    }
    timings: dict[str, list[tuple[IterationTiming, IterationTiming]]] = {name: [] for name in pairs}
    for position in track([*_POSITIONS] * repetitions):
        for name, (batched, single) in pairs.items():
            if not timings[name]:  # warm-up
                time_iteration(setup, batched, 0)
                time_iteration(setup, single, 0)
            timings[name].append((time_iteration(setup, batched, position), time_iteration(setup, single, position)))
    return {"rows": [{"algorithm": name, **_summary(both)} for name, both in timings.items()]}


def _summary(timings: list[tuple[IterationTiming, IterationTiming]]) -> dict[str, float]:
    batched = statistics.mean(timing.model_seconds for timing, _ in timings)
    single = statistics.mean(timing.model_seconds for _, timing in timings)
    return {"seconds": batched, "one_by_one_seconds": single, "speedup": single / batched}
