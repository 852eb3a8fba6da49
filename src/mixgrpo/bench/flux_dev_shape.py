"""A FLUX.1-dev of true size with random weights: what its owner's machine takes, without a download."""

import math
from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from mixgrpo.models.base import Conditioning, FlowModel
from mixgrpo.models.load import adapt
from mixgrpo.recipe.load import resolve
from mixgrpo.recipe.schema import ModelConfig, Recipe

FLUX_DEV_SHAPE = "flux-dev-shape"

_TEXT_TOKENS, _TEXT_WIDTH, _POOLED_WIDTH = 512, 4096, 768


def flux_dev_recipe(changes: Sequence[str] = ()) -> Recipe:
    """A frozen base in bfloat16, adapters on its attention, at the size the paper trains at."""
    return resolve(
        {
            "description": "FLUX.1-dev's shape, random weights",
            "tune": "lora",
            "model": {"path": FLUX_DEV_SHAPE, "dtype": "bfloat16", "height": 720, "width": 720},
            "rollout": {"micro_batch": 4},
            "update": {"checkpointing": True},
            "rewards": {"jpeg-compressibility": 1.0},
        },
        changes,
    )


def flux_dev_shape(config: ModelConfig, device: torch.device) -> FlowModel:
    with torch.device(device):
        pipeline = FluxPipeline(
            FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae(),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=transformer(getattr(torch, config.dtype)),
        )
    pipeline.vae.to(getattr(torch, config.dtype))
    return adapt(pipeline, config.height, config.width, config.guidance_scale, config.max_sequence_length)


def transformer(dtype: torch.dtype) -> FluxTransformer2DModel:
    """The class's defaults are FLUX.1's sizes. Built in its dtype: in float32 it would take 48 GB for a moment."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return FluxTransformer2DModel(guidance_embeds=True)
    finally:
        torch.set_default_dtype(before)


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def random_texts(model: FlowModel, prompts: Sequence[str]) -> Conditioning:
    """As long and as wide as T5's and CLIP's embeddings; what they say changes no time."""
    parameter = next(model.transformer.parameters())
    size, generator = len(prompts), torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(parameter)

    side = math.isqrt(model.latent_shape[0])  # of a square picture, in patches
    image_ids = FluxPipeline._prepare_latent_image_ids(1, side, side, parameter.device, parameter.dtype)
    return Conditioning(
        {"embeds": some(size, _TEXT_TOKENS, _TEXT_WIDTH), "pooled": some(size, _POOLED_WIDTH)},
        {"text_ids": some(_TEXT_TOKENS, 3) * 0, "image_ids": image_ids},
    )
