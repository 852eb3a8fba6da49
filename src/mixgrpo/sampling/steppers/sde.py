"""Stochastic steps from sigma to sigma' < sigma. Each kind is its published formula, reduced to a `Move`.

With dt = sigma' - sigma < 0, x0_hat = x - sigma v and x1_hat = x + (1 - sigma) v (DESIGN notation):

    flow, dance   dx = [v + s^2 / (2 sigma) * (x + (1 - sigma) v)] dt + s sqrt(-dt) noise
                  flow  (Flow-GRPO, MixGRPO)   s = eta * sqrt(sigma / (1 - sigma))
                  dance (DanceGRPO)            s = eta

    x' = (1 - sigma') x0_hat + sigma' r x1_hat + std noise,  std = sigma' sqrt(1 - r^2)

    cps           r = cos(eta * pi / 2)        Coefficients-Preserving
    precise       r = [sigma' (1 - sigma) / (sigma (1 - sigma'))]^(eta^2 / 2)
                  Precise (2605.23522): the exact transition of `flow` while x0_hat stays as it is; finite at sigma 1
    dance-precise r = exp(-eta^2 / 2 (1 / sigma' - 1 / sigma))    the same for `dance`
"""

import math
from collections.abc import Callable
from typing import Literal

from .move import Move

SdeType = Literal["flow", "dance", "cps", "precise", "dance-precise"]

# Above this sigma counts as 1, where the `flow` coefficient diverges.
_PURE_NOISE = 1 - 1e-4

# The published CPS log-probability is -(x' - mean)^2: a Gaussian of variance 1/2.
_CPS_LOG_PROB_STD = math.sqrt(0.5)


def flow(sigma: float, sigma_next: float, noise_level: float) -> Move:
    """Where sigma is 1, the grid's second value replaces it in the denominator."""
    below_one = sigma_next if sigma > _PURE_NOISE else sigma
    return _euler_maruyama(sigma, sigma_next, noise_level * math.sqrt(sigma / (1 - below_one)))


def dance(sigma: float, sigma_next: float, noise_level: float) -> Move:
    return _euler_maruyama(sigma, sigma_next, noise_level)


def cps(sigma: float, sigma_next: float, noise_level: float) -> Move:
    angle = noise_level * math.pi / 2
    return _interpolate(sigma, sigma_next, abs(math.cos(angle)), math.sin(angle), _CPS_LOG_PROB_STD)


def precise(sigma: float, sigma_next: float, noise_level: float) -> Move:
    snr_ratio = sigma_next * (1 - sigma) / (sigma * (1 - sigma_next))
    return _keeping(sigma, sigma_next, snr_ratio ** (noise_level**2 / 2))


def dance_precise(sigma: float, sigma_next: float, noise_level: float) -> Move:
    return _keeping(sigma, sigma_next, math.exp(-(noise_level**2) / 2 * (1 / sigma_next - 1 / sigma)))


def _keeping(sigma: float, sigma_next: float, kept: float) -> Move:
    """`kept`: r, the part of its noise that a state keeps. 1 - r^2 is written so that r may be nearly 1."""
    return _interpolate(sigma, sigma_next, kept, math.sqrt((1 - kept) * (1 + kept)))


def _interpolate(sigma: float, sigma_next: float, kept: float, new: float, log_prob_std: float | None = None) -> Move:
    """Between x0_hat and noise of std sigma', of which a part is kept, sigma' r x1_hat, and a part is new."""
    x0_coef, x1_coef, std = 1 - sigma_next, sigma_next * kept, sigma_next * new
    return Move(
        x_coef=x0_coef + x1_coef,
        velocity_coef=(1 - sigma) * x1_coef - sigma * x0_coef,
        std=std,
        log_prob_std=std if log_prob_std is None else log_prob_std,
    )


def _euler_maruyama(sigma: float, sigma_next: float, rate: float) -> Move:
    """One Euler-Maruyama step of the SDE with the same marginals as the flow. `rate`: s, its std per unit time."""
    dt = sigma_next - sigma
    pull = rate**2 / (2 * sigma)
    std = rate * math.sqrt(-dt)
    return Move(
        x_coef=1 + pull * dt,
        velocity_coef=(1 + pull * (1 - sigma)) * dt,
        std=std,
        log_prob_std=std,
    )


SDE_STEPS: dict[SdeType, Callable[[float, float, float], Move]] = {
    "flow": flow,
    "dance": dance,
    "cps": cps,
    "precise": precise,
    "dance-precise": dance_precise,
}
