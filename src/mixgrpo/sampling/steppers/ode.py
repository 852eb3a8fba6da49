"""Deterministic steps from sigma to sigma' < sigma: Euler and multistep DPM-Solver++ (arXiv 2211.01095).

DPM-Solver++ integrates the predicted clean image over lambda = log(alpha / sigma), here with
alpha = 1 - sigma. With h = lambda' - lambda and e = exp(-h):

    x' = sigma'/sigma x + alpha' [(1 - e) D0 + c1 D1 + c2 D2]

D0 is the newest x0_hat; D1 and D2 are its differences over earlier steps (order 2 and 3). A flow's Euler step is the
first order of this family. It is kept in its own form, the one that the stock diffusers scheduler computes.

`dpm++3` is the third order as published and as in diffusers, where D2 is half the second derivative that it stands for.
It therefore converges at order 2 (measured), with a smaller constant than `dpm++2`. With 2 * D2 it would converge at
order 3 (measured), but would no longer be the solver of the paper's tables.
"""

import math
from collections.abc import Sequence
from typing import Literal

from .move import Move

Solver = Literal["euler", "dpm++1", "dpm++2-midpoint", "dpm++2-heun", "dpm++3"]

ORDER: dict[Solver, int] = {"euler": 1, "dpm++1": 1, "dpm++2-midpoint": 2, "dpm++2-heun": 2, "dpm++3": 3}


def ode_step(solver: Solver, sigma: float, sigma_next: float, past_sigmas: Sequence[float] = ()) -> Move:
    """A step of `solver`, of the highest order that its history allows.

    `past_sigmas`: the noise levels of earlier x0_hat, newest first. The step to sigma' = 0 is of first order, because
    lambda is infinite there.
    """
    if solver == "euler":
        return Move(x_coef=1.0, velocity_coef=sigma_next - sigma)
    past = past_sigmas[: ORDER[solver] - 1] if sigma_next > 0 else ()
    x0_coefs = _x0_coefs(sigma, sigma_next, past, heun=solver == "dpm++2-heun")
    # D0 is predicted by this step itself: x0_hat = x - sigma v.
    return Move(
        x_coef=sigma_next / sigma + x0_coefs[0],
        velocity_coef=-sigma * x0_coefs[0],
        history_coefs=tuple(x0_coefs[1:]),
    )


def _x0_coefs(sigma: float, sigma_next: float, past: Sequence[float], heun: bool) -> list[float]:
    """The weight of each x0_hat, newest first."""
    alpha_next = 1 - sigma_next
    # e = exp(-h), written so that the infinite lambda at sigma = 1 (alpha = 0) and sigma' = 0 does not appear.
    e = (1 - sigma) * sigma_next / (sigma * alpha_next)
    first = alpha_next * (1 - e)
    # A past step at pure noise lies infinitely far back in lambda: its difference is zero.
    past = [s for s in past if s < 1]
    if not past or sigma >= 1:
        return [first]

    h = -math.log(e)
    r0 = (_log_snr(sigma) - _log_snr(past[0])) / h
    linear = alpha_next * (1 - (1 - e) / h)
    if len(past) == 1:
        # D1 = (x0[0] - x0[1]) / r0
        slope = (linear if heun else 0.5 * first) / r0
        return [first + slope, -slope]

    # D1_0 = (x0[0] - x0[1]) / r0,  D1_1 = (x0[1] - x0[2]) / r1
    # D1 = D1_0 + r0 / (r0 + r1) (D1_0 - D1_1),  D2 = (D1_0 - D1_1) / (r0 + r1)
    r1 = (_log_snr(past[0]) - _log_snr(past[1])) / h
    quadratic = alpha_next * (0.5 - (e - 1 + h) / h**2)
    bend = (linear * r0 + quadratic) / (r0 + r1)
    newer, older = (linear + bend) / r0, bend / r1
    return [first + newer, -newer - older, older]


def _log_snr(sigma: float) -> float:
    return math.log((1 - sigma) / sigma)
