"""Every random draw of a rollout, each from a generator of its own.

The key (seed, iteration, prompt, image, step) alone decides a draw. So results do not depend on the
micro-batch, on how prompts are spread over ranks, on resuming, or on the device: noise is drawn on the CPU.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """The noises of one iteration, for latents of one shape."""

    seed: int
    iteration: int
    shape: tuple[int, ...]

    def initial(self, prompt: int, image: int | None) -> Tensor:
        """Where a trajectory starts. `image` None: the start that a prompt's whole group shares."""
        return self._draw("initial", prompt, image)

    def step(self, prompt: int, image: int, step: int) -> Tensor:
        """What an SDE step adds."""
        return self._draw("step", prompt, image, step)

    def _draw(self, *key: str | int | None) -> Tensor:
        digest = hashlib.blake2b(repr((self.seed, self.iteration, *key)).encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        return torch.randn(self.shape, generator=generator)
