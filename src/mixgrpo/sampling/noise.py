"""Every random draw of a rollout, each from a generator of its own."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """Where a rollout's randomness comes from. Prompts are numbered over the whole iteration, images within their
    group, steps along the plan.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's latents."""

    def initial(self, prompt: int, image: int | None) -> Tensor:
        """Where a trajectory starts. `image` None: the start shared by the prompt's whole group."""

    def step(self, prompt: int, image: int, step: int) -> Tensor:
        """What an SDE step adds."""


@dataclass(frozen=True)
class KeyedNoise:
    """Draws that depend on their key (seed, iteration, prompt, image, step) and nothing else.

    Results therefore do not depend on the micro-batch, on how prompts are spread over ranks, on resuming or on the
    device: noise is drawn on the CPU.
    """

    seed: int
    iteration: int
    shape: tuple[int, ...]

    def initial(self, prompt: int, image: int | None) -> Tensor:
        return self._draw("initial", prompt, image)

    def step(self, prompt: int, image: int, step: int) -> Tensor:
        return self._draw("step", prompt, image, step)

    def renoise(self, prompt: int, image: int | None, draw: int) -> Tensor:
        """What an objective adds to final latents. `image` None: shared by the prompt's whole group."""
        return self._draw("renoise", prompt, image, draw)

    def uniform(self, prompt: int, image: int | None, draw: int) -> float:
        """In [0, 1), for an objective that draws noise levels."""
        return torch.rand((), generator=self._generator("uniform", prompt, image, draw)).item()

    def _draw(self, *key: str | int | None) -> Tensor:
        return torch.randn(self.shape, generator=self._generator(*key))

    def _generator(self, *key: str | int | None) -> torch.Generator:
        digest = hashlib.blake2b(repr((self.seed, self.iteration, *key)).encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
