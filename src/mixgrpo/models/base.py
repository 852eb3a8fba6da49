"""What the rest of the package needs from a text-to-image flow model. Nothing here knows of RL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor

from mixgrpo.sampling.schedule import SigmaGrid


@dataclass(frozen=True)
class Conditioning:
    """What the model is told about each prompt: tensors with one row a prompt, by the adapter's own names.

    `common` are what all prompts share, such as the embedding of the empty prompt: one row each.
    """

    per_prompt: dict[str, Tensor]
    common: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.per_prompt.values())))

    @property
    def device(self) -> torch.device:
        return next(iter(self.per_prompt.values())).device

    def __getitem__(self, rows: Tensor) -> "Conditioning":
        """The conditioning of these prompts, in this order, with repeats."""
        return Conditioning({name: tensor[rows] for name, tensor in self.per_prompt.items()}, self.common)


class VelocityField(Protocol):
    """All that a rollout needs of a model."""

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        """v(x, sigma) with guidance, row by row, in float32. Differentiable."""


class FlowModel(VelocityField, Protocol):
    """One diffusers pipeline, seen as a velocity field over packed latents."""

    @property
    def pipeline(self) -> DiffusionPipeline: ...

    @property
    def transformer(self) -> ModelMixin:
        """The network that is trained."""

    @property
    def stock_options(self) -> dict[str, Any]:
        """What the stock pipeline is called with to do the same, beside prompt, size and steps."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one image's latents, as `velocity` takes them."""

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """Names of the linear layers that get adapters: the attention projections."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the transformer's lists of repeated blocks: what is sharded, checkpointed, compiled."""

    def grid(self, num_steps: int) -> SigmaGrid:
        """The noise levels of the pipeline's own scheduler at this image size."""

    def encode(self, prompts: Sequence[str]) -> Conditioning: ...

    def decode(self, latents: Tensor) -> Tensor:
        """Images [N, 3, height, width] in [0, 1], in float32."""


# What adapters are put on: the attention projections of image and text tokens, named alike in the three models.
JOINT_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def model_timestep(sigma: Tensor, dtype: torch.dtype) -> Tensor:
    """sigma on the scheduler's scale of 1000, rounded exactly as the stock pipelines round it: to the
    latents' dtype, never to an integer.
    """
    return (sigma.float() * 1000).to(dtype)


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance."""
    return unconditional + scale * (conditional - unconditional)


def check_size(height: int, width: int, multiple: int) -> None:
    """A silently rounded size would train on other images than were asked for."""
    if height % multiple or width % multiple:
        raise ValueError(f"model.height x model.width = {height} x {width}: both must be multiples of {multiple}")


def patches(height: int, width: int, vae_scale_factor: int) -> tuple[int, int]:
    """Rows and columns of the 2 x 2 latent patches that packed models take as tokens."""
    return height // (2 * vae_scale_factor), width // (2 * vae_scale_factor)


def to_unit_range(images: Tensor) -> Tensor:
    """What a VAE puts out in [-1, 1]."""
    return (images.float() / 2 + 0.5).clamp(0, 1)
