"""FLUX.2 klein, 4B and 9B: true classifier-free guidance by two calls; none in the distilled models.

A token is 2 x 2 latents, whose values the VAE's batch statistics have normalised. Its grid depends on the number of
steps: that of 12 steps is no part of that of 24.
"""

from collections.abc import Sequence
from typing import Any

from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.schedule import SigmaGrid

from .base import Adapter, PipelineModel
from .common import JOINT_ATTENTION, guided, patch_multiple, patches, pixels, timestep
from .scheduler import even, scheduler_grid


def _guidance(model: PipelineModel) -> float:
    return 1.0 if model.pipeline.config.is_distilled else model.guidance


def _check(model: PipelineModel) -> None:
    if model.guidance_scale not in (None, 1.0) and model.pipeline.config.is_distilled:
        raise ValueError(
            f"model.guidance_scale = {model.guidance_scale}: this FLUX.2 klein is distilled and knows no guidance; "
            "leave the key out, or train the base model"
        )


def _stock_options(model: PipelineModel) -> dict[str, Any]:
    return {"guidance_scale": _guidance(model)}


def _latent_shape(model: PipelineModel) -> tuple[int, ...]:
    return model.pipeline.transformer.config.in_channels, *patches(model)


def _grid(model: PipelineModel, num_steps: int) -> SigmaGrid:
    rows, columns = patches(model)
    mu = compute_empirical_mu(rows * columns, num_steps)
    return scheduler_grid(model.pipeline.scheduler, num_steps, mu, even(num_steps))


def _encode(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    length = model.max_sequence_length or 512
    embeds, _ = model.pipeline.encode_prompt([prompt.text for prompt in prompts], max_sequence_length=length)
    empty, _ = model.pipeline.encode_prompt("", max_sequence_length=length)
    return Conditioning({"embeds": embeds}, {"empty": empty, **ids(model, embeds)})


def ids(model: PipelineModel, embeds: Tensor) -> dict[str, Tensor]:
    """Four coordinates of each text and image token: time, row, column, place in the text."""
    return {
        "text_ids": model.pipeline._prepare_text_ids(embeds[:1]).to(embeds.device),
        "image_ids": model.pipeline._prepare_latent_ids(embeds.new_empty(1, 1, *patches(model))).to(embeds.device),
    }


def _velocity(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
    conditional = _predict(model, x, sigma, conditioning.per_prompt["embeds"], conditioning)
    if _guidance(model) <= 1:
        return conditional
    empty = conditioning.common["empty"].expand(len(x), -1, -1)
    return guided(_predict(model, x, sigma, empty, conditioning), conditional, _guidance(model))


def _predict(model: PipelineModel, x: Tensor, sigma: Tensor, embeds: Tensor, conditioning: Conditioning) -> Tensor:
    transformer = model.pipeline.transformer
    tokens: Tensor = transformer(
        hidden_states=x.flatten(2).transpose(1, 2).to(transformer.dtype),
        timestep=timestep(sigma, transformer.dtype) / 1000,
        guidance=None,
        encoder_hidden_states=embeds,
        txt_ids=conditioning.common["text_ids"],
        img_ids=conditioning.common["image_ids"],
        return_dict=False,
    )[0]
    return tokens.float().transpose(1, 2).reshape(x.shape)


def _stock_latents(model: PipelineModel, latents: Tensor) -> Tensor:
    """Without the VAE's batch statistics, and out of their patches."""
    vae = model.pipeline.vae
    mean, variance = (values.to(latents).view(1, -1, 1, 1) for values in (vae.bn.running_mean, vae.bn.running_var))
    latents = latents * (variance + vae.config.batch_norm_eps).sqrt() + mean
    unpatched: Tensor = model.pipeline._unpatchify_latents(latents)
    return unpatched


def _decode(model: PipelineModel, latents: Tensor) -> Tensor:
    vae = model.pipeline.vae
    return pixels(vae.decode(_stock_latents(model, latents).to(vae.dtype), return_dict=False)[0])


FLUX_2_KLEIN = Adapter(
    guidance="two calls; none if distilled",
    default_guidance=4.0,
    lora_targets=(*JOINT_ATTENTION, "to_qkv_mlp_proj"),
    blocks=("transformer_blocks", "single_transformer_blocks"),
    size_multiple=patch_multiple,
    latent_shape=_latent_shape,
    grid=_grid,
    stock_options=_stock_options,
    encode=_encode,
    velocity=_velocity,
    decode=_decode,
    stock_latents=_stock_latents,
    check=_check,
)
