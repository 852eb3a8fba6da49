"""A model of FLUX.1-dev's size with random weights: the cost on your machine, without a download."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.common import patches
from mixgrpo.models.flux import FLUX
from mixgrpo.models.load import adapt
from mixgrpo.recipe.load import resolve
from mixgrpo.recipe.schema import Recipe
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.sampling.field import Conditioning

FLUX_DEV_SHAPE = "flux-dev-shape"

_TEXT_TOKENS, _TEXT_WIDTH, _POOLED_WIDTH = 512, 4096, 768


def flux_dev_recipe(changes: Sequence[str] = ()) -> Recipe:
    """LoRA on a base in bfloat16, at the image size of the paper."""
    return resolve(
        {
            "description": "FLUX.1-dev's shape, random weights",
            "tune": "lora",
            "model": {"path": FLUX_DEV_SHAPE, "dtype": "bfloat16", "height": 720, "width": 720},
            "rollout": {"micro_batch": 4},
            "update": {"gradient_checkpointing": True},
            "rewards": {"jpeg-compressibility": 1.0},
            "prompts": "scenes",
        },
        changes,
    )


def flux_dev_shape(config: ModelConfig, device: torch.device) -> PipelineModel:
    """It has no text encoders: conditioning is random."""
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
    model = adapt(pipeline, config.height, config.width, config.guidance_scale, config.max_sequence_length)
    return replace(model, adapter=replace(FLUX, encode=random_texts))


def transformer(dtype: torch.dtype) -> FluxTransformer2DModel:
    """The defaults of the class are FLUX.1's sizes. It is built in its dtype, because float32 would take 48 GB."""
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


def random_texts(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
    """Of the size of T5's and CLIP's embeddings. What a prompt says does not change the time."""
    device, dtype = model.device, model.pipeline.transformer.dtype
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    image_ids = model.pipeline._prepare_latent_image_ids(1, *patches(model), device, dtype)
    return Conditioning(
        {
            "embeds": random(len(prompts), _TEXT_TOKENS, _TEXT_WIDTH),
            "pooled": random(len(prompts), _POOLED_WIDTH),
        },
        {"text_ids": torch.zeros(_TEXT_TOKENS, 3, device=device, dtype=dtype), "image_ids": image_ids},
    )
