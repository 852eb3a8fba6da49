"""A diffusers pipeline seen as a velocity field over its latents. Nothing here knows of reinforcement learning.

`FlowModel` is all that the rest of the package asks of a model. `PipelineModel` answers it for any diffusers pipeline,
given the `Adapter` of its class: a table of functions and names.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning, VelocityField
from mixgrpo.sampling.schedule import SigmaGrid

from .resting import in_place, text_encoders

Networks = Mapping[str, ModelMixin]
"""The networks that are trained, by their names in the pipeline. One, or several for different noise levels."""


class FlowModel(VelocityField, Protocol):
    @property
    def pipeline(self) -> DiffusionPipeline: ...

    @property
    def networks(self) -> Networks: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of one sample's latents, as `velocity` takes them."""

    @property
    def lora_targets(self) -> Sequence[str]:
        """Names of the linear layers that get LoRA adapters."""

    @property
    def blocks(self) -> Sequence[str]:
        """Names of the networks' lists of repeated blocks, which can be compiled or sharded one by one."""

    @property
    def stock_options(self) -> dict[str, Any]:
        """The arguments with which the stock pipeline does the same, apart from prompt, size and steps."""

    def grid(self, num_steps: int) -> SigmaGrid:
        """The noise levels of the pipeline's own scheduler at this size."""

    def encode(self, prompts: Sequence[Prompt]) -> Conditioning: ...

    def with_text_encoders(self) -> AbstractContextManager[None]:
        """On the device, where `encode` and the stock pipeline need them. Otherwise they may rest elsewhere."""

    def stock_latents(self, latents: Tensor) -> Tensor:
        """Final latents as the stock pipeline returns them."""

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [N, frames, 3, height, width] in [0, 1], in float32. An image is one frame."""

    def with_networks(self, networks: Networks) -> "FlowModel":
        """The same model with other networks; everything else is shared."""


@dataclass(frozen=True)
class PipelineModel:
    adapter: "Adapter"
    pipeline: DiffusionPipeline
    height: int
    width: int
    guidance_scale: float | None = None
    max_sequence_length: int | None = None

    def __post_init__(self) -> None:
        multiple = self.adapter.size_multiple(self.pipeline)
        if self.height % multiple or self.width % multiple:
            # The stock pipelines round silently and would draw images of another size.
            raise ValueError(
                f"model.height x model.width = {self.height} x {self.width}: both must be multiples of {multiple}"
            )
        self.adapter.check(self)

    @property
    def networks(self) -> Networks:
        return {name: getattr(self.pipeline, name) for name in self.adapter.networks}

    @property
    def device(self) -> torch.device:
        """The VAE's: the networks' weights may wait elsewhere between two calls."""
        device: torch.device = next(self.pipeline.vae.parameters()).device
        return device

    @property
    def guidance(self) -> float:
        return self.adapter.default_guidance if self.guidance_scale is None else self.guidance_scale

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.adapter.latent_shape(self)

    @property
    def lora_targets(self) -> Sequence[str]:
        return self.adapter.lora_targets

    @property
    def blocks(self) -> Sequence[str]:
        return self.adapter.blocks

    @property
    def stock_options(self) -> dict[str, Any]:
        options = {**self.adapter.stock_options(self), "max_sequence_length": self.max_sequence_length}
        return {name: value for name, value in options.items() if value is not None}

    def grid(self, num_steps: int) -> SigmaGrid:
        return self.adapter.grid(self, num_steps)

    @torch.no_grad()
    def encode(self, prompts: Sequence[Prompt]) -> Conditioning:
        with self.with_text_encoders():
            return self.adapter.encode(self, prompts)

    def with_text_encoders(self) -> AbstractContextManager[None]:
        return in_place(text_encoders(self.pipeline), self.device)

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        return self.adapter.velocity(self, x, sigma, conditioning)

    def stock_latents(self, latents: Tensor) -> Tensor:
        return self.adapter.stock_latents(self, latents)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        return self.adapter.decode(self, latents)

    def with_networks(self, networks: Networks) -> "PipelineModel":
        pipeline = copy.copy(self.pipeline)  # built anew from its components it would lose its other settings
        pipeline.register_modules(**networks)
        return replace(self, pipeline=pipeline)


def _nothing_to_check(model: PipelineModel) -> None: ...


def _as_they_are(model: PipelineModel, latents: Tensor) -> Tensor:
    return latents


@dataclass(frozen=True)
class Adapter:
    """What is particular to one pipeline class."""

    guidance: str
    """How it is guided, in words."""
    default_guidance: float
    """The scale of the stock pipeline."""
    lora_targets: tuple[str, ...]
    blocks: tuple[str, ...]
    size_multiple: Callable[[DiffusionPipeline], int]
    """Height and width must be multiples of it."""
    latent_shape: Callable[[PipelineModel], tuple[int, ...]]
    grid: Callable[[PipelineModel, int], SigmaGrid]
    stock_options: Callable[[PipelineModel], dict[str, Any]]
    encode: Callable[[PipelineModel, Sequence[Prompt]], Conditioning]
    velocity: Callable[[PipelineModel, Tensor, Tensor, Conditioning], Tensor]
    decode: Callable[[PipelineModel, Tensor], Tensor]
    networks: tuple[str, ...] = ("transformer",)
    stock_latents: Callable[[PipelineModel, Tensor], Tensor] = _as_they_are
    check: Callable[[PipelineModel], None] = _nothing_to_check
    """Raises a ValueError if the pipeline cannot do what its settings ask for."""
