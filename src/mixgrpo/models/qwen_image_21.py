"""Qwen-Image-2.1: text and image are one sequence, and the image's positions begin where the text ends. Padding would
move the image, so texts of different lengths take different calls. The VAE draws RGBA.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.schedule import SigmaGrid

from .base import Adapter, PipelineModel
from .common import (
    ATTENTION,
    NEGATIVE_PROMPT,
    guided,
    on_white,
    patch_multiple,
    timestep,
    true_guidance_options,
    unnormalized,
)
from .scheduler import packed_grid

_LATENTS_PER_SLOT = 4
"""The network counts an image in slots of 2 x 2 latents."""


def _check(model: PipelineModel) -> None:
    if model.max_sequence_length is not None:
        raise ValueError(
            f"model.max_sequence_length = {model.max_sequence_length}: Qwen-Image-2.1 never cuts a prompt; "
            "leave the key out"
        )


def _stock_options(model: PipelineModel) -> dict[str, Any]:
    # Its cache of the text's keys and values rounds differently from a whole call.
    return {**true_guidance_options(model), "use_kv_cache": False}


def _latent_shape(model: PipelineModel) -> tuple[int, ...]:
    rows, columns = _tokens(model)
    return rows * columns, model.pipeline.transformer.config.in_channels


def _tokens(model: PipelineModel) -> tuple[int, int]:
    """Rows and columns of tokens, each one latent."""
    factor = model.pipeline.vae_scale_factor
    return model.height // factor, model.width // factor


def _grid(model: PipelineModel, num_steps: int) -> SigmaGrid:
    fixed = model.pipeline.config.sample_sigmas
    if fixed is not None and len(fixed) != num_steps:
        raise ValueError(f"{num_steps} steps: this pipeline has noise levels of its own (sample_sigmas), {len(fixed)}")
    return packed_grid(model, num_steps, fixed)


def _encode(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    embeds, mask, _ = model.pipeline.encode_prompt([prompt.text for prompt in prompts])
    negative, _, _ = model.pipeline.encode_prompt(NEGATIVE_PROMPT)
    padding = {} if mask is None else {"mask": mask}
    return Conditioning({"embeds": embeds, **padding}, {"embeds": negative})


def _velocity(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
    conditional = _by_length(model, x, sigma, conditioning.per_prompt)
    if model.guidance <= 1:
        return conditional
    negative = conditioning.common["embeds"].expand(len(x), -1, -1)
    return guided(_predict(model, x, sigma, negative), conditional, model.guidance)


def _by_length(model: PipelineModel, x: Tensor, sigma: Tensor, text: dict[str, Tensor]) -> Tensor:
    """One call for each length of text."""
    if "mask" not in text:
        return _predict(model, x, sigma, text["embeds"])
    lengths = text["mask"].sum(1)
    velocity = torch.empty_like(x, dtype=torch.float32)
    for length in sorted({*lengths.tolist()}):
        rows = (lengths == length).nonzero()[:, 0]
        alike = _predict(model, x[rows], sigma[rows], text["embeds"][rows, :length])
        velocity = velocity.index_copy(0, rows, alike)
    return velocity


def _predict(model: PipelineModel, x: Tensor, sigma: Tensor, embeds: Tensor) -> Tensor:
    transformer = model.pipeline.transformer
    tokens = x.shape[1]
    slots = torch.arange(embeds.shape[1] + tokens // _LATENTS_PER_SLOT, device=x.device) >= embeds.shape[1]
    velocity: Tensor = transformer(
        hidden_states=x.to(transformer.dtype),
        timestep=timestep(sigma, transformer.dtype) / 1000,
        encoder_hidden_states=embeds,
        img_shapes=[[(1, *_tokens(model))]] * len(x),
        img_mask=slots.expand(len(x), -1),
        return_dict=False,
    )[0]
    return velocity[:, -tokens:].float()


def _decode(model: PipelineModel, latents: Tensor) -> Tensor:
    vae = model.pipeline.vae
    rows, columns = _tokens(model)
    latents = latents.transpose(1, 2).reshape(len(latents), -1, 1, rows, columns)
    latents = unnormalized(vae, latents).to(vae.dtype)
    return on_white(vae.decode(latents, return_dict=False)[0][:, :, 0])


QWEN_IMAGE_21 = Adapter(
    guidance="two calls; one more for each further length of text",
    default_guidance=1.0,
    lora_targets=ATTENTION,
    blocks=("transformer_blocks",),
    size_multiple=patch_multiple,
    latent_shape=_latent_shape,
    grid=_grid,
    stock_options=_stock_options,
    encode=_encode,
    velocity=_velocity,
    decode=_decode,
    check=_check,
)
