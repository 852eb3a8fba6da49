"""The window: which steps are stochastic at iteration k.

A window of `size` steps moves inside an envelope of steps. It is always full and never empty. Every strategy is a
pure function of k, so resuming needs no state.
"""

import math
import random
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_MOST_STEPS = 10_000
_MOST_ITERATIONS = 10_000_000


class Window(BaseModel):
    """What every strategy has. A strategy adds `start(iteration, envelope, size)`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    size: int | None = Field(default=4, ge=1, le=_MOST_STEPS)
    """Number of steps in the window. null: every step of the range."""
    range: tuple[int, int] | None = Field(default=None, strict=False)
    """[start, end): the steps that the window may cover. null: all but the last, which is never stochastic."""
    trained_fraction: float = Field(default=1.0, gt=0, le=1)
    """Fraction of the window's steps that is optimised, redrawn every iteration (DanceGRPO: 0.6)."""


class Progressive(Window):
    """Moves by `stride` steps every `iters_per_group` iterations."""

    strategy: Literal["progressive"] = "progressive"
    iters_per_group: int = Field(default=25, ge=1, le=_MOST_ITERATIONS)
    """Iterations that the window stays at its first position."""
    stride: int = Field(default=1, ge=1, le=_MOST_STEPS)
    """Steps by which it moves on."""
    wrap: bool = True
    """After the last position: start again (true), or stay there (false)."""

    def start(self, iteration: int, envelope: range, size: int) -> int:
        starts = positions(envelope, size, self.stride, self.wrap)
        return slide(iteration, starts, [self.iters_per_group] * len(starts), self.wrap)


class Decay(Window):
    """Moves like `progressive`; the stay at a position shrinks linearly from `iters_per_group` to
    `min_iters_per_group`.
    """

    strategy: Literal["decay"]
    iters_per_group: int = Field(default=25, ge=1, le=_MOST_ITERATIONS)
    """Iterations that the window stays at its first position."""
    min_iters_per_group: int = Field(default=1, ge=1, le=_MOST_ITERATIONS)
    """Iterations that it stays at its last position."""
    stride: int = Field(default=1, ge=1, le=_MOST_STEPS)
    """Steps by which it moves on."""
    wrap: bool = True
    """After the last position: start again (true), or stay there (false)."""

    @model_validator(mode="after")
    def _shrinks(self) -> "Decay":
        if self.min_iters_per_group > self.iters_per_group:
            raise ValueError(
                f"window.min_iters_per_group = {self.min_iters_per_group}: must be at most "
                f"window.iters_per_group, {self.iters_per_group}"
            )
        return self

    def start(self, iteration: int, envelope: range, size: int) -> int:
        starts = positions(envelope, size, self.stride, self.wrap)
        durations = [
            linear_decay(start - envelope.start, len(envelope), self.iters_per_group, self.min_iters_per_group)
            for start in starts
        ]
        return slide(iteration, starts, durations, self.wrap)


class ExpDecay(Window):
    """Moves like `progressive`; from step `threshold` on, the stay shrinks by exp(-rate * position)."""

    strategy: Literal["exp_decay"]
    iters_per_group: int = Field(default=25, ge=1, le=_MOST_ITERATIONS)
    """Iterations that the window stays at its first position."""
    rate: float = Field(default=0.1, gt=0, le=100)
    """How fast the stay shrinks."""
    threshold: int = Field(default=13, ge=0, le=_MOST_STEPS)
    """The position from which it shrinks."""
    stride: int = Field(default=1, ge=1, le=_MOST_STEPS)
    """Steps by which it moves on."""
    wrap: bool = True
    """After the last position: start again (true), or stay there (false)."""

    def start(self, iteration: int, envelope: range, size: int) -> int:
        starts = positions(envelope, size, self.stride, self.wrap)
        durations = [
            exp_decay(start - envelope.start, self.iters_per_group, self.rate, self.threshold) for start in starts
        ]
        return slide(iteration, starts, durations, self.wrap)


class Random(Window):
    """A new random position every iteration, the same on every rank."""

    strategy: Literal["random"]
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of the positions."""

    def start(self, iteration: int, envelope: range, size: int) -> int:
        return random_start(iteration, envelope, size, self.seed)


class Stratified(Window):
    """A window for each prompt (Flash-GRPO): over an iteration's prompts they are spread evenly over the range, from a
    position drawn anew every iteration.
    """

    strategy: Literal["stratified"]
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Of the positions."""

    def start(self, iteration: int, envelope: range, size: int) -> int:
        return self.start_of(0, 1, iteration, envelope, size)

    def start_of(self, prompt: int, prompts: int, iteration: int, envelope: range, size: int) -> int:
        """Of one of so many prompts. Those that follow each other share a window, if they are more than positions."""
        count = envelope.stop - size + 1 - envelope.start
        first = random_start(iteration, envelope, size, self.seed) - envelope.start
        return envelope.start + (first + prompt * count // prompts) % count


class Frozen(Window):
    """Stays at the start of its range."""

    strategy: Literal["frozen"]

    def start(self, iteration: int, envelope: range, size: int) -> int:
        return envelope.start


WindowStrategy = Annotated[
    Progressive | Decay | ExpDecay | Random | Stratified | Frozen, Field(discriminator="strategy")
]


def positions(envelope: range, size: int, stride: int, wrap: bool) -> list[int]:
    """The starts of a sliding window: every `stride` steps, as long as the window is full.

    A window that wraps starts again after the last of these. One that stays goes on to the end of the envelope, so
    that it has covered every step.
    """
    last = envelope.stop - size
    starts = list(range(envelope.start, last + 1, stride))
    return starts if wrap or starts[-1] == last else [*starts, last]


def slide(iteration: int, starts: Sequence[int], durations: Sequence[int], wrap: bool) -> int:
    """The start at `iteration`, where `starts[i]` is kept for `durations[i]` iterations."""
    if wrap:
        iteration %= sum(durations)
    for start, duration in zip(starts, durations, strict=True):
        if iteration < duration:
            return start
        iteration -= duration
    return starts[-1]


def linear_decay(offset: int, length: int, longest: int, shortest: int) -> int:
    """Iterations spent at `offset` in an envelope of `length` steps, falling linearly."""
    return int(longest - (longest - shortest) * offset / length)


def exp_decay(offset: int, iterations: int, rate: float, threshold: int) -> int:
    """ceil(iterations * exp(-rate * relu(offset - threshold)))."""
    return math.ceil(iterations * math.exp(-rate * max(0, offset - threshold)))


def random_start(iteration: int, envelope: range, size: int, seed: int) -> int:
    """The same draw as verl-omni's."""
    return random.Random(seed + iteration).randint(envelope.start, envelope.stop - size)


def random_subset(iteration: int, window: range, fraction: float, seed: int) -> tuple[int, ...]:
    """The steps of the window that are trained at this iteration, at least one (DanceGRPO: 0.6 of all steps)."""
    count = max(1, int(len(window) * fraction))
    return tuple(sorted(random.Random(f"{seed}/{iteration}").sample(window, count)))
