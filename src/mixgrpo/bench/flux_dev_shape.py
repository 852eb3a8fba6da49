"""A model of FLUX.1-dev's size with random weights: the cost on your machine, without a download."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.common import patches
from mixgrpo.models.flux import FLUX
from mixgrpo.models.load import adapt
from mixgrpo.planning.published import built_as, flux_transformer, flux_vae
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
    with built_as(getattr(torch, config.dtype), device):
        pipeline = FluxPipeline(
            FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            flux_vae(),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=flux_transformer(),
        )
    model = adapt(pipeline, config.height, config.width, config.guidance_scale, config.max_sequence_length)
    return replace(model, adapter=replace(FLUX, encode=random_texts))


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
