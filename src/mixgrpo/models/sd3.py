"""Stable Diffusion 3 and 3.5: true classifier-free guidance, both halves in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor

from mixgrpo.sampling.schedule import SigmaGrid

from .base import JOINT_ATTENTION, Conditioning, check_size, guided, model_timestep, to_unit_range
from .scheduler import scheduler_grid


@dataclass(frozen=True)
class StableDiffusion3:
    pipeline: StableDiffusion3Pipeline
    height: int
    width: int
    guidance_scale: float | None = None
    max_sequence_length: int | None = None

    lora_targets = JOINT_ATTENTION
    blocks = ("transformer_blocks",)

    def __post_init__(self) -> None:
        check_size(self.height, self.width, self.pipeline.vae_scale_factor * self.pipeline.patch_size)

    @property
    def transformer(self) -> SD3Transformer2DModel:
        return self.pipeline.transformer

    @property
    def latent_shape(self) -> tuple[int, ...]:
        factor = self.pipeline.vae_scale_factor
        return self.transformer.config.in_channels, self.height // factor, self.width // factor

    def grid(self, num_steps: int) -> SigmaGrid:
        _, height, width = self.latent_shape
        tokens = (height // self.pipeline.patch_size) * (width // self.pipeline.patch_size)
        return scheduler_grid(self.pipeline.scheduler, num_steps, tokens, sigmas=None)

    @property
    def _guidance(self) -> float:
        return 7.0 if self.guidance_scale is None else self.guidance_scale

    @property
    def stock_options(self) -> dict[str, Any]:
        options = {"guidance_scale": self._guidance, "max_sequence_length": self.max_sequence_length}
        return {name: value for name, value in options.items() if value is not None}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        return Conditioning(self._encode(list(prompts)), self._encode([""]))

    def _encode(self, prompts: list[str]) -> dict[str, Tensor]:
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompts,
            None,
            None,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length or 256,
        )
        return {"embeds": embeds, "pooled": pooled}

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        told = conditioning.per_prompt
        if self._guidance <= 1:
            return self._predict(x, sigma, told["embeds"], told["pooled"])
        untold = {name: tensor.expand_as(told[name]) for name, tensor in conditioning.common.items()}
        embeds, pooled = (torch.cat([untold[name], told[name]]) for name in ("embeds", "pooled"))
        both = self._predict(torch.cat([x, x]), torch.cat([sigma, sigma]), embeds, pooled)
        unconditional, conditional = both.chunk(2)
        return guided(unconditional, conditional, self._guidance)

    def _predict(self, x: Tensor, sigma: Tensor, embeds: Tensor, pooled: Tensor) -> Tensor:
        velocity: Tensor = self.transformer(
            hidden_states=x.to(self.transformer.dtype),
            # This pipeline hands the scheduler's float32 timestep to the network as it is.
            timestep=model_timestep(sigma, torch.float32),
            encoder_hidden_states=embeds,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        return velocity.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        latents = latents / vae.config.scaling_factor + vae.config.shift_factor
        return to_unit_range(vae.decode(latents.to(vae.dtype), return_dict=False)[0])
