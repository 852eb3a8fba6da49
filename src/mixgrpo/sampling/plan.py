"""The plan of one rollout: its steps, which of them are random, which are trained, and what they cost.

    prefix   ODE on the grid, identical for a group that shares its noise
    window   SDE; these steps are sampled at random and (all, or a subset of them) optimised
    suffix   ODE, not optimised: any solver, on as few steps as `compress_ratio` leaves

A plan is data. It needs no model, and a rollout only follows it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .schedule import SigmaGrid
from .steppers.move import Move
from .steppers.ode import Solver, ode_step
from .steppers.sde import SDE_STEPS, SdeType

History = Literal["trajectory", "suffix"]
"""Which steps a multistep solver looks back on: all before it, as published, or none from before the window's noise."""

# Below this many steps the last but one is of second order at most, as in diffusers' DPM-Solver++: a third
# order step across so wide a gap right before sigma 0 is unstable.
_SHORT = 15


@dataclass(frozen=True)
class Step:
    sigma: float
    sigma_next: float
    move: Move
    trained: bool = False

    @property
    def stochastic(self) -> bool:
        return self.move.std > 0


@dataclass(frozen=True)
class Price:
    """Model evaluations per image. Classifier-free guidance doubles what each costs, in every plan alike."""

    rollout_calls: float
    update_passes: float

    def cost(self, pass_cost: float) -> float:
        """In forward passes; a forward-backward is 3 of them, or 2 where only adapters train."""
        return self.rollout_calls + pass_cost * self.update_passes


@dataclass(frozen=True)
class Plan:
    """Steps from the grid's first sigma to exactly 0; `steps[window]` are the stochastic ones.

    The window's positions are grid positions too: compression begins after it.
    """

    grid: SigmaGrid
    window: range
    steps: tuple[Step, ...]

    @property
    def trained(self) -> tuple[int, ...]:
        return tuple(i for i, step in enumerate(self.steps) if step.trained)

    @property
    def num_common(self) -> int:
        """How many steps start from a state that a group with shared noise has in common.

        All of the prefix and the first stochastic step: its images differ only after it. A plan with no
        window never tells its images apart.
        """
        return self.window.start + 1 if self.window else len(self.steps)

    @property
    def history_depth(self) -> int:
        """How many earlier x0_hat the solver looks back on."""
        return max(len(step.move.history_coefs) for step in self.steps)

    def price(self, group_size: int, shared: bool) -> Price:
        """Per image, with what a group has in common computed once per prompt, or (not shared) per image."""
        common_share = 1 / group_size if shared else 1.0

        def evaluations(positions: Collection[int]) -> float:
            common = sum(i < self.num_common for i in positions)
            return common * common_share + len(positions) - common

        return Price(evaluations(range(len(self.steps))), evaluations(self.trained))


def make_plan(
    grid: SigmaGrid,
    window: range,
    *,
    sde_type: SdeType = "flow",
    noise_level: float = 0.7,
    trained: Collection[int] | None = None,
    suffix_solver: Solver = "euler",
    compress_ratio: float = 1.0,
    history: History = "trajectory",
) -> Plan:
    """Lay the steps out. `trained` defaults to the whole window."""
    if window.stop >= grid.num_steps:
        raise ValueError(
            f"window {list(window)} reaches the last of {grid.num_steps} steps, which is never stochastic: "
            f"it must end at step {grid.num_steps - 2} or before"
        )
    trained = window if trained is None else trained
    if not set(trained) <= set(window):
        raise ValueError(f"trained steps {sorted(trained)} must lie in the window {list(window)}")

    sigmas = grid.sigmas
    sde_step = SDE_STEPS[sde_type]
    steps = [Step(*pair, ode_step("euler", *pair)) for pair in _pairs(sigmas[: window.start + 1])]
    for i in window:
        pair = sigmas[i], sigmas[i + 1]
        steps.append(Step(*pair, sde_step(*pair, noise_level), trained=i in trained))

    suffix = _pairs(grid.resampled(window.stop, suffix_calls(grid.num_steps, window.stop, compress_ratio)))
    short = len(steps) + len(suffix) < _SHORT
    for calls_left, pair in zip(range(len(suffix), 0, -1), suffix, strict=True):
        # Each step before this one, of whatever kind or only of the suffix, has left its x0_hat to a multistep solver.
        past = steps if history == "trajectory" else steps[window.stop :]
        past_sigmas = [step.sigma for step in reversed(past)]
        order = 2 if short and calls_left == 2 else 3
        steps.append(Step(*pair, ode_step(suffix_solver, *pair, past_sigmas[: order - 1])))
    return Plan(grid, window, tuple(steps))


def ode_plan(grid: SigmaGrid, solver: Solver = "euler") -> Plan:
    """Deterministic from start to end: inference and evaluation."""
    return make_plan(grid, range(0), suffix_solver=solver)


def suffix_calls(num_steps: int, window_stop: int, compress_ratio: float) -> int:
    """How many steps lead from the window's end to sigma 0.

    MixGRPO-Flash keeps int(remaining * ratio) grid points, counted from the window's last step on; the
    calls are one fewer. Where that leaves none, one is kept: a plan always ends at sigma 0.
    """
    remaining = num_steps - (window_stop - 1)
    return max(1, int(remaining * compress_ratio) - 1)


def _pairs(sigmas: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(pairwise(sigmas))
