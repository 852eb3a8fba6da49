"""Stochastic steps from sigma to sigma' < sigma. Each kind is its published formula, reduced to a `Move`.

With dt = sigma' - sigma < 0, x0_hat = x - sigma v and x1_hat = x + (1 - sigma) v (DESIGN notation):

    flow, dance   dx = [v + s^2 / (2 sigma) * (x + (1 - sigma) v)] dt + s sqrt(-dt) noise
                  flow  (Flow-GRPO, MixGRPO)   s = eta * sqrt(sigma / (1 - sigma))
                  dance (DanceGRPO)            s = eta
    cps           x' = (1 - sigma') x0_hat + sqrt(sigma'^2 - std^2) x1_hat + std noise
                  (Coefficients-Preserving)    std = sigma' * sin(eta * pi / 2)
"""

import math
from collections.abc import Callable
from typing import Literal

from .move import Move

SdeType = Literal["flow", "dance", "cps"]

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
    std = sigma_next * math.sin(noise_level * math.pi / 2)
    x0_coef = 1 - sigma_next
    x1_coef = math.sqrt(sigma_next**2 - std**2)
    return Move(
        x_coef=x0_coef + x1_coef,
        velocity_coef=(1 - sigma) * x1_coef - sigma * x0_coef,
        std=std,
        log_prob_std=_CPS_LOG_PROB_STD,
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


SDE_STEPS: dict[SdeType, Callable[[float, float, float], Move]] = {"flow": flow, "dance": dance, "cps": cps}
