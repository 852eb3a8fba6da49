"""The plan of one rollout: its steps, which of them are stochastic, which are trained, and what they cost.

    prefix   ODE on the grid, identical for a group that shares its noise
    window   SDE; these steps are stochastic, and all or some of them are optimised
    suffix   ODE, not optimised: any solver, on as few steps as `compress_ratio` leaves

A plan is data. It needs no model, and a rollout only follows it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .schedule import SigmaGrid
from .step_weights import StepWeight, step_weights
from .steppers.move import Move
from .steppers.ode import Solver, ode_step
from .steppers.sde import SDE_STEPS, SdeType

History = Literal["trajectory", "suffix"]
"""The steps that a multistep solver looks back on: all earlier ones (as published), or those of the suffix alone."""

# In plans shorter than this the last step but one is of second order at most, as in diffusers' DPM-Solver++: a third
# order step across so wide a gap right before sigma 0 is unstable.
_SHORT = 15


@dataclass(frozen=True)
class Step:
    sigma: float
    sigma_next: float
    move: Move
    trained: bool = False
    weight: float = 1.0
    """In the loss, relative to the other steps that may be trained."""

    @property
    def stochastic(self) -> bool:
        return self.move.std > 0


@dataclass(frozen=True)
class Price:
    """Model evaluations per image. Classifier-free guidance doubles the cost of each, in every plan."""

    rollout_calls: float
    update_passes: float

    def repeated(self, passes: int) -> "Price":
        """With so many passes of the update over one rollout."""
        return Price(self.rollout_calls, passes * self.update_passes)

    def cost(self, pass_cost: float) -> float:
        """In forward passes. `pass_cost` is the cost of a forward-backward: 3, or 2 if only adapters train."""
        return self.rollout_calls + pass_cost * self.update_passes


@dataclass(frozen=True)
class Plan:
    """Steps from the grid's first sigma to exactly 0. `steps[window]` are the stochastic ones.

    The window's positions are also grid positions, because compression begins after the window.
    """

    grid: SigmaGrid
    window: range
    steps: tuple[Step, ...]

    @property
    def trained(self) -> tuple[int, ...]:
        return tuple(i for i, step in enumerate(self.steps) if step.trained)

    @property
    def num_common(self) -> int:
        """Number of steps that start from a state which a group with shared noise has in common.

        These are the prefix and the first stochastic step, after which the images differ. Without a window they never
        do.
        """
        return self.window.start + 1 if self.window else len(self.steps)

    @property
    def history_depth(self) -> int:
        """Number of earlier x0_hat that the solver uses."""
        return max(len(step.move.history_coefs) for step in self.steps)

    def price(self, group_size: int, shared: bool, renoised: int = 0, parts: int = 1) -> Price:
        """Per image. `shared`: what a group has in common is computed once per prompt instead of per image. `renoised`:
        states of each image at which the update runs the model, beside the trained steps. `parts`: how many
        mini-batches have images of one group, each of which runs the model at the states in common.
        """
        return price(len(self.steps), self.num_common, self.trained, group_size, shared, renoised, parts)


def price(
    num_steps: int,
    num_common: int,
    trained: Collection[int],
    group_size: int,
    shared: bool,
    renoised: int = 0,
    parts: int = 1,
) -> Price:
    """Of a plan with these numbers of steps, whatever they are."""
    drawn_share, trained_share = (1 / group_size, min(parts / group_size, 1.0)) if shared else (1.0, 1.0)
    common_trained = sum(i < num_common for i in trained)
    return Price(
        num_common * drawn_share + num_steps - num_common,
        common_trained * trained_share + len(trained) - common_trained + renoised,
    )


def make_plan(
    grid: SigmaGrid,
    window: range,
    *,
    sde_type: SdeType = "flow",
    noise_level: float = 0.7,
    trained: Collection[int] | None = None,
    weight: StepWeight = "equal",
    envelope: range | None = None,
    suffix_solver: Solver = "euler",
    compress_ratio: float = 1.0,
    history: History = "trajectory",
) -> Plan:
    """`trained` and `envelope`, the steps that a moving window may cover, default to the whole window."""
    if window.stop >= grid.num_steps:
        raise ValueError(
            f"window {list(window)} contains the last of {grid.num_steps} steps, which is never stochastic: "
            f"it must end at step {grid.num_steps - 2} or before"
        )
    trained = {*(window if trained is None else trained)}
    if not trained <= {*window}:
        raise ValueError(f"trained steps {sorted(trained)} must lie in the window {list(window)}")

    sigmas = grid.sigmas
    sde_step = SDE_STEPS[sde_type]
    steps = [Step(*pair, ode_step("euler", *pair)) for pair in _pairs(sigmas[: window.start + 1])]
    moves = {i: sde_step(sigmas[i], sigmas[i + 1], noise_level) for i in {*window, *(envelope or ())}}
    weights = step_weights(weight, [moves[i] for i in window], [moves[i] for i in envelope or window])
    for i, own in zip(window, weights, strict=True):
        steps.append(Step(sigmas[i], sigmas[i + 1], moves[i], trained=i in trained, weight=own))

    suffix = _pairs(grid.resampled(window.stop, suffix_calls(grid.num_steps, window.stop, compress_ratio)))
    short = len(steps) + len(suffix) < _SHORT
    for calls_left, pair in zip(range(len(suffix), 0, -1), suffix, strict=True):
        # A multistep solver has the x0_hat of every earlier step, or of every earlier step of the suffix.
        order = 2 if short and calls_left == 2 else 3
        past = steps if history == "trajectory" else steps[window.stop :]
        past_sigmas = [step.sigma for step in reversed(past[1 - order :])]
        steps.append(Step(*pair, ode_step(suffix_solver, *pair, past_sigmas)))
    return Plan(grid, window, tuple(steps))


def ode_plan(grid: SigmaGrid, solver: Solver = "euler") -> Plan:
    """Deterministic from start to end, for inference and evaluation."""
    return make_plan(grid, range(0), suffix_solver=solver)


def suffix_calls(num_steps: int, window_stop: int, compress_ratio: float) -> int:
    """Number of steps from the window's end to sigma 0.

    MixGRPO-Flash keeps int(remaining * ratio) grid points, counted from the window's last step, which makes one call
    less. If that leaves none, one call is kept: a plan always ends at sigma 0.
    """
    remaining = num_steps - (window_stop - 1)
    return max(1, int(remaining * compress_ratio) - 1)


def _pairs(sigmas: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(pairwise(sigmas))
