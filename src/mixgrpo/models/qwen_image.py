"""Qwen-Image: true classifier-free guidance whose result keeps the conditional norm; masked text tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import QwenImagePipeline, QwenImageTransformer2DModel
from torch import Tensor

from mixgrpo.sampling.schedule import SigmaGrid

from .base import JOINT_ATTENTION, Conditioning, check_size, guided, model_timestep, patches, to_unit_range
from .scheduler import even_sigmas, scheduler_grid


@dataclass(frozen=True)
class QwenImage:
    pipeline: QwenImagePipeline
    height: int
    width: int
    guidance_scale: float | None = None
    max_sequence_length: int | None = None

    lora_targets = JOINT_ATTENTION
    blocks = ("transformer_blocks",)

    def __post_init__(self) -> None:
        check_size(self.height, self.width, 2 * self.pipeline.vae_scale_factor)

    @property
    def transformer(self) -> QwenImageTransformer2DModel:
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
    def _guidance(self) -> float:
        return 4.0 if self.guidance_scale is None else self.guidance_scale

    @property
    def stock_options(self) -> dict[str, Any]:
        options = {
            "true_cfg_scale": self._guidance,
            "negative_prompt": " ",
            "max_sequence_length": self.max_sequence_length,
        }
        return {name: value for name, value in options.items() if value is not None}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Conditioning:
        return Conditioning(self._encode(list(prompts)), self._encode([" "]))

    def _encode(self, prompts: list[str]) -> dict[str, Tensor]:
        """The mask tells real tokens from padding; without padding there is none."""
        embeds, mask = self.pipeline.encode_prompt(prompts, max_sequence_length=self.max_sequence_length or 512)
        return {"embeds": embeds} if mask is None else {"embeds": embeds, "mask": mask}

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        conditional = self._predict(x, sigma, conditioning.per_prompt)
        if self._guidance <= 1:
            return conditional
        # The two texts differ in length, so they go through the network one after the other.
        untold = {name: tensor.expand(len(x), *tensor.shape[1:]) for name, tensor in conditioning.common.items()}
        velocity = guided(self._predict(x, sigma, untold), conditional, self._guidance)
        return velocity * (_token_norm(conditional) / _token_norm(velocity))

    def _predict(self, x: Tensor, sigma: Tensor, text: dict[str, Tensor]) -> Tensor:
        dtype = self.transformer.dtype
        velocity: Tensor = self.transformer(
            hidden_states=x.to(dtype),
            timestep=model_timestep(sigma, dtype) / 1000,
            encoder_hidden_states=text["embeds"],
            encoder_hidden_states_mask=text.get("mask"),
            img_shapes=[[(1, *self._patches)]] * len(x),
            return_dict=False,
        )[0]
        return velocity.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        latents = self.pipeline._unpack_latents(latents, self.height, self.width, self.pipeline.vae_scale_factor)
        mean, std = (
            torch.tensor(values, device=latents.device).view(1, -1, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        latents = latents * std + mean
        return to_unit_range(vae.decode(latents.to(vae.dtype), return_dict=False)[0][:, :, 0])


def _token_norm(velocity: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(velocity, dim=-1, keepdim=True)
    return norm
