"""Every step of every sampler here is one linear map plus noise.

    x' = x_coef * x + velocity_coef * v + sum_k history_coefs[k] * x0_hat[k] + std * noise

An SDE step is a Gaussian around that mean; an ODE step has std 0; a multistep solver also uses earlier predictions of
the clean image (`history`, newest first). The coefficients are plain numbers that depend on the schedule alone, so they
are computed once, when a plan is built, without tensors.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Move:
    """The coefficients of one step.

    `log_prob_std` is the standard deviation of the log-probability. It is the step's own, except for CPS, which drops
    the scale as published.
    """

    x_coef: float
    velocity_coef: float
    history_coefs: tuple[float, ...] = ()
    std: float = 0.0
    log_prob_std: float = 0.0
