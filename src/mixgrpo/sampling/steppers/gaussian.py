"""What a `Move` does to tensors: its mean, a draw and a log-probability. Each is computed here and nowhere else."""

import math
from collections.abc import Sequence

from torch import Tensor

from .move import Move


def advance(move: Move, x: Tensor, velocity: Tensor, history: Sequence[Tensor] = ()) -> Tensor:
    """The mean of the step. An ODE step arrives there; an SDE step adds noise to it."""
    mean = move.x_coef * x + move.velocity_coef * velocity
    for coef, x0 in zip(move.history_coefs, history, strict=False):
        mean = mean + coef * x0
    return mean


def draw(move: Move, mean: Tensor, noise: Tensor) -> Tensor:
    """One sample of the step, from standard normal noise."""
    return mean + move.std * noise


def log_prob(move: Move, x_next: Tensor, mean: Tensor) -> Tensor:
    """log N(x_next; mean, std^2), averaged over all but the batch dimension, in float32.

    The average instead of the sum keeps ratios near 1 in tens of thousands of dimensions. It is the reason why clip
    ranges in this field are 1e-4 and below.
    """
    if move.log_prob_std == 0:
        raise ValueError("a deterministic step has no log-probability: its std is 0")
    error = (x_next.float() - mean.float()) / move.log_prob_std
    normaliser = math.log(move.log_prob_std) + 0.5 * math.log(2 * math.pi)
    return (-0.5 * error.square()).flatten(1).mean(1) - normaliser


def clean_image(x: Tensor, velocity: Tensor, sigma: float) -> Tensor:
    """x0_hat = x - sigma v: the predicted clean image, which multistep solvers keep."""
    return x - sigma * velocity


def velocity_of(move: Move, x: Tensor, mean: Tensor) -> Tensor:
    """The velocity with which a step from x, without history, has this mean."""
    return (mean - move.x_coef * x) / move.velocity_coef
