"""Velocity fields with closed forms, as models."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.schedule import SigmaGrid, shifted_linspace


@dataclass(frozen=True)
class Field:
    """A model whose velocity is a function of x and sigma; its prompts mean nothing."""

    function: Callable[[Tensor, Tensor], Tensor]
    latent_shape: tuple[int, ...]
    lora_targets = ()
    blocks = ()
    device = torch.device("cpu")

    @property
    def networks(self) -> Mapping[str, Any]:
        return {}

    def grid(self, num_steps: int) -> SigmaGrid:
        return shifted_linspace(num_steps, shift=1.0)

    def encode(self, prompts: Sequence[Prompt]) -> Conditioning:
        return Conditioning({"nothing": torch.zeros(len(prompts), 1)}, {})

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        return self.function(x, sigma)

    def decode(self, latents: Tensor) -> Tensor:
        return latents[:, None]


@dataclass(frozen=True)
class GaussianTarget:
    """Images ~ N(mean, std^2), so x_sigma ~ N((1 - sigma) mean, (1 - sigma)^2 std^2 + sigma^2).

    The velocity is linear in x: E[noise - image | x] = slope * x + offset.
    """

    mean: float
    std: float

    def marginal_mean(self, sigma: float) -> float:
        return (1 - sigma) * self.mean

    def marginal_variance(self, sigma: float) -> float:
        return (1 - sigma) ** 2 * self.std**2 + sigma**2

    def slope(self, sigma: float) -> float:
        return (sigma - (1 - sigma) * self.std**2) / self.marginal_variance(sigma)

    def offset(self, sigma: float) -> float:
        return -self.mean - self.slope(sigma) * self.marginal_mean(sigma)

    def velocity(self, x: float, sigma: float) -> float:
        return self.slope(sigma) * x + self.offset(sigma)

    def flow(self, x: float, sigma: float, sigma_next: float) -> float:
        """Where the ODE takes x: quantiles stay quantiles."""
        scale = math.sqrt(self.marginal_variance(sigma_next) / self.marginal_variance(sigma))
        return self.marginal_mean(sigma_next) + scale * (x - self.marginal_mean(sigma))
