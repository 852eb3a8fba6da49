"""How far a velocity is from the one that leads to an image.

An image x0 with noise e is x = (1 - sigma) x0 + sigma e, and v* = e - x0 leads back to it. With d = mean (v - v*)^2 and
a = mean |v - v*|, both over all dimensions of the latents, the predicted image is off by sigma^2 d and sigma a.

The negative error serves as log-likelihood of an image, of which a flow has no exact one that is cheap. Weightings
differ in how much a noise level counts:

    velocity      d                             RVM; AWM `uniform`
    sigma         sigma d                       AWM
    image         sigma^2 d                     AWM `sigma^2`, ELBO-PEPG `t`
    adaptive      sigma^2 d / sg(sigma a)       NFT, V-GRPO, ELBO-PEPG; sg: no gradient
    exact         (1 - sigma) / (sigma + 1e-3) d    ELBO-PEPG
    huber         sigma (sqrt(d + 1e-10) - 1e-5)    AWM
    ghuber        sigma ((d + 1e-10)^p - 1e-10^p) / p    AWM, p = 0.25
"""

import math
from typing import assert_never

import torch
from torch import Tensor

from mixgrpo.recipe.objectives import ErrorWeighting

_LEAST_ERROR = 1e-5
_TINY = 1e-10
_POWER = 0.25


def mean_square(difference: Tensor) -> Tensor:
    """[n, D] from [n, D, *latents]"""
    return difference.square().flatten(2).mean(2)


def velocity_error(
    weighting: ErrorWeighting, velocity: Tensor, target: Tensor, sigma: Tensor, power: float = _POWER
) -> Tensor:
    """[n, D] from velocities and targets [n, D, *latents] and sigma [n, D]."""
    difference = velocity - target
    squared = mean_square(difference)
    match weighting:
        case "velocity":
            return squared
        case "sigma":
            return sigma * squared
        case "image":
            return sigma.square() * squared
        case "adaptive":
            length = sigma * difference.detach().abs().flatten(2).mean(2)
            return sigma.square() * squared / length.clamp(min=_LEAST_ERROR)
        case "exact":
            return (1 - sigma) / (sigma + 1e-3) * squared
        case "huber":
            return sigma * ((squared + _TINY).sqrt() - math.sqrt(_TINY))
        case "ghuber":
            return sigma * (torch.pow(squared + _TINY, power) - math.pow(_TINY, power)) / power
    assert_never(weighting)
