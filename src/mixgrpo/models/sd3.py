"""Stable Diffusion 3 and 3.5: true classifier-free guidance, both halves in one call."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.schedule import SigmaGrid

from .base import Adapter, PipelineModel
from .common import JOINT_ATTENTION, guided, pixels, scaled, timestep
from .scheduler import mu_by_tokens, scheduler_grid


def _size_multiple(pipeline: DiffusionPipeline) -> int:
    multiple: int = pipeline.vae_scale_factor * pipeline.patch_size
    return multiple


def _latent_shape(model: PipelineModel) -> tuple[int, ...]:
    factor = model.pipeline.vae_scale_factor
    return model.pipeline.transformer.config.in_channels, model.height // factor, model.width // factor


def _grid(model: PipelineModel, num_steps: int) -> SigmaGrid:
    multiple = _size_multiple(model.pipeline)
    tokens = (model.height // multiple) * (model.width // multiple)
    scheduler = model.pipeline.scheduler
    return scheduler_grid(scheduler, num_steps, mu_by_tokens(scheduler, tokens), sigmas=None)


def _stock_options(model: PipelineModel) -> dict[str, Any]:
    return {"guidance_scale": model.guidance}


def _encode(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    return Conditioning(_embeds(model, [prompt.text for prompt in prompts]), _embeds(model, [""]))


def _embeds(model: PipelineModel, texts: list[str]) -> dict[str, Tensor]:
    embeds, _, pooled, _ = model.pipeline.encode_prompt(
        texts, None, None, do_classifier_free_guidance=False, max_sequence_length=model.max_sequence_length or 256
    )
    return {"embeds": embeds, "pooled": pooled}


def _velocity(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
    prompt = conditioning.per_prompt
    if model.guidance <= 1:
        return _predict(model, x, sigma, prompt["embeds"], prompt["pooled"])
    empty = {name: tensor.expand_as(prompt[name]) for name, tensor in conditioning.common.items()}
    embeds, pooled = (torch.cat([empty[name], prompt[name]]) for name in ("embeds", "pooled"))
    both = _predict(model, torch.cat([x, x]), torch.cat([sigma, sigma]), embeds, pooled)
    unconditional, conditional = both.chunk(2)
    return guided(unconditional, conditional, model.guidance)


def _predict(model: PipelineModel, x: Tensor, sigma: Tensor, embeds: Tensor, pooled: Tensor) -> Tensor:
    transformer = model.pipeline.transformer
    velocity: Tensor = transformer(
        hidden_states=x.to(transformer.dtype),
        timestep=timestep(sigma, torch.float32),  # this pipeline passes the scheduler's float32 timestep as it is
        encoder_hidden_states=embeds,
        pooled_projections=pooled,
        return_dict=False,
    )[0]
    return velocity.float()


def _decode(model: PipelineModel, latents: Tensor) -> Tensor:
    vae = model.pipeline.vae
    return pixels(vae.decode(scaled(vae, latents).to(vae.dtype), return_dict=False)[0])


STABLE_DIFFUSION_3 = Adapter(
    guidance="two rows of one call",
    default_guidance=7.0,
    lora_targets=JOINT_ATTENTION,
    blocks=("transformer_blocks",),
    size_multiple=_size_multiple,
    latent_shape=_latent_shape,
    grid=_grid,
    stock_options=_stock_options,
    encode=_encode,
    velocity=_velocity,
    decode=_decode,
)
