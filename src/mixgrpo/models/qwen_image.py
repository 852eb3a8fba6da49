"""Qwen-Image: true classifier-free guidance whose result keeps the conditional norm; masked text tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning

from .base import Adapter, PipelineModel
from .common import (
    JOINT_ATTENTION,
    NEGATIVE_PROMPT,
    guided,
    packed_shape,
    patch_multiple,
    patches,
    pixels,
    timestep,
    true_guidance_options,
    unnormalized,
    unpacked,
)
from .scheduler import packed_grid


def _encode(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    return Conditioning(_embeds(model, [prompt.text for prompt in prompts]), _embeds(model, [NEGATIVE_PROMPT]))


def _embeds(model: PipelineModel, texts: list[str]) -> dict[str, Tensor]:
    """The mask marks the real tokens; without padding there is none."""
    embeds, mask = model.pipeline.encode_prompt(texts, max_sequence_length=model.max_sequence_length or 512)
    return {"embeds": embeds} if mask is None else {"embeds": embeds, "mask": mask}


def _velocity(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
    conditional = _predict(model, x, sigma, conditioning.per_prompt)
    if model.guidance <= 1:
        return conditional
    # The two texts differ in length, so they take two calls.
    negative = {name: tensor.expand(len(x), *tensor.shape[1:]) for name, tensor in conditioning.common.items()}
    velocity = guided(_predict(model, x, sigma, negative), conditional, model.guidance)
    return velocity * (_token_norm(conditional) / _token_norm(velocity))


def _predict(model: PipelineModel, x: Tensor, sigma: Tensor, text: dict[str, Tensor]) -> Tensor:
    transformer = model.pipeline.transformer
    velocity: Tensor = transformer(
        hidden_states=x.to(transformer.dtype),
        timestep=timestep(sigma, transformer.dtype) / 1000,
        encoder_hidden_states=text["embeds"],
        encoder_hidden_states_mask=text.get("mask"),
        img_shapes=[[(1, *patches(model))]] * len(x),
        return_dict=False,
    )[0]
    return velocity.float()


def _decode(model: PipelineModel, latents: Tensor) -> Tensor:
    vae = model.pipeline.vae
    latents = unnormalized(vae, unpacked(model, latents))
    return pixels(vae.decode(latents.to(vae.dtype), return_dict=False)[0][:, :, 0])


def _token_norm(velocity: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(velocity, dim=-1, keepdim=True)
    return norm


QWEN_IMAGE = Adapter(
    guidance="two calls",
    default_guidance=4.0,
    lora_targets=JOINT_ATTENTION,
    blocks=("transformer_blocks",),
    size_multiple=patch_multiple,
    latent_shape=packed_shape,
    grid=packed_grid,
    stock_options=true_guidance_options,
    encode=_encode,
    velocity=_velocity,
    decode=_decode,
)
