"""FLUX.1: guidance is an input of the network (dev), or absent (schnell)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from torch import Tensor

from mixgrpo.sampling.schedule import SigmaGrid

from .base import JOINT_ATTENTION, Conditioning, check_size, model_timestep, patches, to_unit_range
from .scheduler import even_sigmas, scheduler_grid


@dataclass(frozen=True)
class Flux:
    pipeline: FluxPipeline
    height: int
    width: int
    guidance_scale: float | None = None
    max_sequence_length: int | None = None

    lora_targets = JOINT_ATTENTION
    blocks = ("transformer_blocks", "single_transformer_blocks")

    def __post_init__(self) -> None:
        check_size(self.height, self.width, 2 * self.pipeline.vae_scale_factor)
        if self.guidance_scale is not None and not self.transformer.config.guidance_embeds:
            raise ValueError(
                f"model.guidance_scale = {self.guidance_scale}: this FLUX takes no guidance, the key must be null"
            )

    @property
    def transformer(self) -> FluxTransformer2DModel:
        return self.pipeline.transformer

    @property
    def _patches(self) -> tuple[int, int]:
        return patches(self.height, self.width, self.pipeline.vae_scale_factor)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return math.prod(self._patches), self.transformer.config.in_channels

    def grid(self, num_steps: int) -> SigmaGrid:
        return scheduler_grid(self.pipeline.scheduler, num_steps, self.latent_shape[0], even_sigmas(num_steps))

    @property
    def stock_options(self) -> dict[str, Any]:
        options = {"guidance_scale": self.guidance_scale, "max_sequence_length": self.max_sequence_length}
        return {name: value for name, value in options.items() if value is not None}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        embeds, pooled, text_ids = self.pipeline.encode_prompt(
            list(prompts), None, max_sequence_length=self.max_sequence_length or 512
        )
        image_ids = self.pipeline._prepare_latent_image_ids(1, *self._patches, embeds.device, embeds.dtype)
        return Conditioning({"embeds": embeds, "pooled": pooled}, {"text_ids": text_ids, "image_ids": image_ids})

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        dtype = self.transformer.dtype
        guidance = None
        if self.transformer.config.guidance_embeds:
            scale = 3.5 if self.guidance_scale is None else self.guidance_scale
            guidance = torch.full((len(x),), scale, device=x.device)
        velocity: Tensor = self.transformer(
            hidden_states=x.to(dtype),
            timestep=model_timestep(sigma, dtype) / 1000,
            guidance=guidance,
            pooled_projections=conditioning.per_prompt["pooled"],
            encoder_hidden_states=conditioning.per_prompt["embeds"],
            txt_ids=conditioning.common["text_ids"],
            img_ids=conditioning.common["image_ids"],
            return_dict=False,
        )[0]
        return velocity.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        latents = self.pipeline._unpack_latents(latents, self.height, self.width, self.pipeline.vae_scale_factor)
        latents = latents / vae.config.scaling_factor + vae.config.shift_factor
        return to_unit_range(vae.decode(latents.to(vae.dtype), return_dict=False)[0])
