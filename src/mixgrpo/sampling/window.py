"""Which steps are stochastic at iteration k: pure functions of k, so that resuming needs no state.

A window of `size` steps moves inside an envelope of steps. It is always full, and never empty.
"""

import math
import random
from collections.abc import Sequence


def positions(envelope: range, size: int, stride: int, wrap: bool) -> list[int]:
    """Where a sliding window starts: every `stride` steps, as long as it is full.

    A window that wraps begins again after the last of these. One that stays goes on to the envelope's
    end first, so that every step has been in it.
    """
    last = envelope.stop - size
    starts = list(range(envelope.start, last + 1, stride))
    return starts if wrap or starts[-1] == last else [*starts, last]


def slide(iteration: int, starts: Sequence[int], durations: Sequence[int], wrap: bool) -> int:
    """The start that iteration falls on when `starts[i]` lasts `durations[i]` iterations."""
    if wrap:
        iteration %= sum(durations)
    for start, duration in zip(starts, durations, strict=True):
        if iteration < duration:
            return start
        iteration -= duration
    return starts[-1]


def linear_decay(offset: int, length: int, longest: int, shortest: int) -> int:
    """Iterations at `offset` into an envelope of `length` steps, falling linearly."""
    return int(longest - (longest - shortest) * offset / length)


def exp_decay(offset: int, iterations: int, rate: float, threshold: int) -> int:
    """ceil(iterations * exp(-rate * relu(offset - threshold)))."""
    return math.ceil(iterations * math.exp(-rate * max(0, offset - threshold)))


def random_start(iteration: int, envelope: range, size: int, seed: int) -> int:
    """A fresh draw each iteration, the same on every rank (verl-omni draws exactly so)."""
    return random.Random(seed + iteration).randint(envelope.start, envelope.stop - size)


def random_subset(iteration: int, window: range, fraction: float, seed: int) -> tuple[int, ...]:
    """The part of the window that is trained at this iteration (DanceGRPO: 0.6 of all), at least one step."""
    count = max(1, int(len(window) * fraction))
    return tuple(sorted(random.Random(f"{seed}/{iteration}").sample(window, count)))
