import math
from itertools import pairwise

import pytest
import torch

from fields import GaussianTarget
from mixgrpo.sampling.schedule import shifted_linspace
from mixgrpo.sampling.steppers.gaussian import advance, draw
from mixgrpo.sampling.steppers.ode import ode_step
from mixgrpo.sampling.steppers.sde import SDE_STEPS, SdeType, cps, dance, flow

TARGET = GaussianTarget(mean=0.7, std=0.4)


def moments_at_end(
    target: GaussianTarget, kind: SdeType, noise_level: float, num_steps: int, start: float = 1.0, stop: float = 0.1
) -> tuple[float, float]:
    """Mean and variance after walking an even grid, from the flow's own marginal at `start`.

    The target's velocity is linear in x, so a Gaussian stays one, and its moments follow exactly.
    """
    mean, variance = target.marginal_mean(start), target.marginal_variance(start)
    levels = [start + (stop - start) * i / num_steps for i in range(num_steps + 1)]
    for sigma, sigma_next in pairwise(levels):
        move = SDE_STEPS[kind](sigma, sigma_next, noise_level)
        mean = move.x_coef * mean + move.velocity_coef * target.velocity(mean, sigma)
        gain = move.x_coef + move.velocity_coef * target.slope(sigma)
        variance = gain**2 * variance + move.std**2
    return mean, variance


@pytest.mark.parametrize(("kind", "noise_level"), [("flow", 0.7), ("flow", 1.2), ("dance", 0.3), ("dance", 1.0)])
def test_marginals_are_those_of_the_flow(kind: SdeType, noise_level: float) -> None:
    """The SDE has the flow's marginals; its Euler-Maruyama steps approach them at first order."""
    errors = []
    for num_steps in (100, 200, 400, 800):
        mean, variance = moments_at_end(TARGET, kind, noise_level, num_steps, start=0.9)
        assert mean == pytest.approx(TARGET.marginal_mean(0.1), abs=1e-9)
        errors.append(abs(variance - TARGET.marginal_variance(0.1)))
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders[-1] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("kind", "noise_level"), [("flow", 0.7), ("flow", 1.2), ("dance", 0.3), ("dance", 1.0)])
def test_marginals_from_pure_noise(kind: SdeType, noise_level: float) -> None:
    """At sigma = 1 the rate of `flow` diverges, which costs it the order there, but not the limit."""
    errors = []
    for num_steps in (100, 400, 1600):
        mean, variance = moments_at_end(TARGET, kind, noise_level, num_steps)
        assert mean == pytest.approx(TARGET.marginal_mean(0.1), abs=1e-9)
        errors.append(abs(variance - TARGET.marginal_variance(0.1)))
    assert 3e-3 > errors[0] > errors[1] > errors[2]
    assert errors[2] < 5e-4


@pytest.mark.parametrize("noise_level", [0.3, 0.7, 1.0, 1.2])
@pytest.mark.parametrize("num_steps", [4, 25])
def test_cps_is_exact_at_any_step_size_where_the_image_is_certain(noise_level: float, num_steps: int) -> None:
    """CPS keeps the coefficients of image and noise: for a single image the marginal is exact, whatever the
    noise level and however few the steps.
    """
    single = GaussianTarget(mean=0.7, std=0.0)
    mean, variance = moments_at_end(single, "cps", noise_level, num_steps)
    assert mean == pytest.approx(single.marginal_mean(0.1), abs=1e-12)
    assert variance == pytest.approx(single.marginal_variance(0.1), abs=1e-12)


def test_cps_approaches_the_marginals_when_its_noise_shrinks_with_the_step() -> None:
    """CPS renews a fixed share of the noise at each step; only with std ~ sqrt(dt) has it a limit: the flow's."""
    errors = []
    for num_steps in (100, 400, 1600):
        mean, variance = moments_at_end(TARGET, "cps", 1 / math.sqrt(num_steps), num_steps)
        assert mean == pytest.approx(TARGET.marginal_mean(0.1), abs=1e-9)
        errors.append(abs(variance - TARGET.marginal_variance(0.1)))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("kind", SDE_STEPS)
def test_drawn_samples_have_the_marginals(kind: SdeType) -> None:
    """The same with real draws, from pure noise to half-way in 200 steps."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, generator=generator, dtype=torch.float64)
    noise_level = 0.1 if kind == "cps" else 0.7
    for sigma, sigma_next in pairwise([1 - i / 400 for i in range(201)]):
        move = SDE_STEPS[kind](sigma, sigma_next, noise_level)
        mean = advance(move, x, TARGET.slope(sigma) * x + TARGET.offset(sigma))
        x = draw(move, mean, torch.randn(x.shape, generator=generator, dtype=x.dtype))
    assert x.mean().item() == pytest.approx(TARGET.marginal_mean(0.5), abs=0.01)
    assert x.var().item() == pytest.approx(TARGET.marginal_variance(0.5), rel=0.03)


@pytest.mark.parametrize("kind", SDE_STEPS)
@pytest.mark.parametrize(("sigma", "sigma_next"), [(1.0, 0.98), (0.6, 0.5), (0.1, 0.02)])
def test_without_noise_a_step_is_eulers(kind: SdeType, sigma: float, sigma_next: float) -> None:
    move, euler = SDE_STEPS[kind](sigma, sigma_next, 0.0), ode_step("euler", sigma, sigma_next)
    assert (move.x_coef, move.velocity_coef) == pytest.approx((euler.x_coef, euler.velocity_coef), abs=1e-12)
    assert move.std == 0


def test_steps_by_hand() -> None:
    # dance: s = 0.5, dt = -0.2, s^2 / (2 sigma) = 0.25: x_coef = 1 - 0.05, v_coef = (1 + 0.25 * 0.5) * -0.2
    step = dance(0.5, 0.3, 0.5)
    assert (step.x_coef, step.velocity_coef, step.std) == pytest.approx((0.95, -0.225, 0.5 * 0.2**0.5))
    # flow at sigma = 1/2: s = eta * sqrt(0.5 / 0.5) = eta, so the same step.
    assert flow(0.5, 0.3, 0.5) == dance(0.5, 0.3, 0.5)
    # cps with eta = 1: all noise is renewed, x' = (1 - sigma') x0_hat + sigma' noise
    renewed = cps(0.5, 0.3, 1.0)
    assert (renewed.x_coef, renewed.velocity_coef, renewed.std) == pytest.approx((0.7, -0.35, 0.3), abs=1e-7)


@pytest.mark.parametrize("sigma", [1.0, 1 - 1e-7, 0.99995])
def test_flow_is_finite_at_pure_noise_however_it_is_rounded(sigma: float) -> None:
    """s = eta sqrt(sigma / (1 - sigma)) diverges at 1; the grid's second value stands in."""
    grid = shifted_linspace(25, 3.0)
    move = flow(sigma, grid.sigmas[1], 0.7)
    assert move.std == pytest.approx(0.7, rel=0.01)
