"""Small things that several adapters share."""

from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, DiffusionPipeline
from torch import Tensor

from .base import PipelineModel

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The attention projections, which have the same names in all of these models."""

JOINT_ATTENTION = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""The attention projections of image and text tokens, which have the same names in FLUX.1, SD3 and Qwen-Image."""


NEGATIVE_PROMPT = " "
"""Qwen-Image's own."""


def timestep(sigma: Tensor, dtype: torch.dtype) -> Tensor:
    """sigma on the scheduler's scale of 1000, rounded as the stock pipelines do: to the latents' dtype, never to an
    integer.
    """
    return (sigma.float() * 1000).to(dtype)


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance."""
    return unconditional + scale * (conditional - unconditional)


def true_guidance_options(model: PipelineModel) -> dict[str, Any]:
    """Of the stock pipelines that are guided away from a negative prompt, where there is guidance."""
    negative = {"negative_prompt": NEGATIVE_PROMPT} if model.guidance > 1 else {}
    return {"true_cfg_scale": model.guidance, **negative}


def patch_multiple(pipeline: DiffusionPipeline) -> int:
    """Of models whose tokens are 2 x 2 latents."""
    multiple: int = 2 * pipeline.vae_scale_factor
    return multiple


def patches(model: PipelineModel) -> tuple[int, int]:
    """Rows and columns of 2 x 2 latent patches."""
    multiple = patch_multiple(model.pipeline)
    return model.height // multiple, model.width // multiple


def packed_shape(model: PipelineModel) -> tuple[int, ...]:
    """One token per patch."""
    rows, columns = patches(model)
    return rows * columns, model.pipeline.transformer.config.in_channels


def unpacked(model: PipelineModel, latents: Tensor) -> Tensor:
    """Tokens back in rows and columns."""
    pipeline = model.pipeline
    image: Tensor = pipeline._unpack_latents(latents, model.height, model.width, pipeline.vae_scale_factor)
    return image


def scaled(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Undo the VAE's shift and scale."""
    result: Tensor = latents / vae.config.scaling_factor + vae.config.shift_factor
    return result


def unnormalized(vae: AutoencoderKLQwenImage, latents: Tensor) -> Tensor:
    """Undo the VAE's mean and standard deviation of each channel. Latents [N, channels, frames, rows, columns]."""
    mean, std = (
        torch.tensor(values, device=latents.device).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return latents * std + mean


def pixels(images: Tensor) -> Tensor:
    """A VAE's output in [-1, 1] as images of one frame in [0, 1]."""
    return (images.float() / 2 + 0.5).clamp(0, 1)[:, None]


def on_white(images: Tensor) -> Tensor:
    """The RGBA output of a VAE on white."""
    rgba = pixels(images)
    alpha = rgba[:, :, 3:]
    return rgba[:, :, :3] * alpha + 1 - alpha
