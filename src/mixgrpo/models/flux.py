"""FLUX.1: guidance is an input of the network (dev), or absent (schnell)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning

from .base import Adapter, PipelineModel
from .common import JOINT_ATTENTION, packed_shape, patch_multiple, patches, pixels, scaled, timestep, unpacked
from .scheduler import packed_grid


def _check(model: PipelineModel) -> None:
    if model.guidance_scale is not None and not model.pipeline.transformer.config.guidance_embeds:
        raise ValueError(
            f"model.guidance_scale = {model.guidance_scale}: this FLUX has no guidance input; leave the key out"
        )


def _stock_options(model: PipelineModel) -> dict[str, Any]:
    return {"guidance_scale": model.guidance_scale}


def _encode(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    embeds, pooled, text_ids = model.pipeline.encode_prompt(
        [prompt.text for prompt in prompts], None, max_sequence_length=model.max_sequence_length or 512
    )
    image_ids = model.pipeline._prepare_latent_image_ids(1, *patches(model), embeds.device, embeds.dtype)
    return Conditioning({"embeds": embeds, "pooled": pooled}, {"text_ids": text_ids, "image_ids": image_ids})


def _velocity(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
    transformer = model.pipeline.transformer
    guidance = None
    if transformer.config.guidance_embeds:
        guidance = torch.full((len(x),), model.guidance, device=x.device)
    velocity: Tensor = transformer(
        hidden_states=x.to(transformer.dtype),
        timestep=timestep(sigma, transformer.dtype) / 1000,
        guidance=guidance,
        pooled_projections=conditioning.per_prompt["pooled"],
        encoder_hidden_states=conditioning.per_prompt["embeds"],
        txt_ids=conditioning.common["text_ids"],
        img_ids=conditioning.common["image_ids"],
        return_dict=False,
    )[0]
    return velocity.float()


def _decode(model: PipelineModel, latents: Tensor) -> Tensor:
    vae = model.pipeline.vae
    return pixels(vae.decode(scaled(vae, unpacked(model, latents)).to(vae.dtype), return_dict=False)[0])


FLUX = Adapter(
    guidance="an input of the network",
    default_guidance=3.5,
    lora_targets=JOINT_ATTENTION,
    blocks=("transformer_blocks", "single_transformer_blocks"),
    size_multiple=patch_multiple,
    latent_shape=packed_shape,
    grid=packed_grid,
    stock_options=_stock_options,
    encode=_encode,
    velocity=_velocity,
    decode=_decode,
    check=_check,
)
