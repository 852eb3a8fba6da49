"""The models we train: one thin adapter each over its diffusers pipeline.

A new model is one file beside these and one line in `ADAPTERS`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from mixgrpo import tiny
from mixgrpo.recipe.schema import ModelConfig

from .base import Conditioning, FlowModel, VelocityField
from .flux import Flux
from .qwen_image import QwenImage
from .sd3 import StableDiffusion3

__all__ = ["ADAPTERS", "Conditioning", "FlowModel", "VelocityField", "adapt", "load_model", "with_transformer"]

# By the class name a pipeline folder states in its model_index.json.
ADAPTERS: dict[str, Callable[..., FlowModel]] = {
    "FluxPipeline": Flux,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "QwenImagePipeline": QwenImage,
}


def load_model(config: ModelConfig, device: str | torch.device = "cpu") -> FlowModel:
    """Load a pipeline from a folder or the hub, with the adapter of its class.

    The class is read before the weights, so that an unsupported model is refused at once.
    """
    path = tiny.path() if config.path == "tiny" else config.path
    _check_supported(DiffusionPipeline.load_config(path)["_class_name"], f"model.path = {config.path}")
    pipeline = DiffusionPipeline.from_pretrained(path, dtype=getattr(torch, config.dtype))
    return adapt(pipeline.to(device), config.height, config.width, config.guidance_scale, config.max_sequence_length)


def adapt(
    pipeline: DiffusionPipeline,
    height: int,
    width: int,
    guidance_scale: float | None = None,
    max_sequence_length: int | None = None,
) -> FlowModel:
    """See a loaded pipeline as a flow model. All of it goes to eval mode and is frozen: no dropout, whoever
    built it, in rollout and update alike; what is trained is for the trainer to unfreeze.
    """
    name = type(pipeline).__name__
    _check_supported(name, "pipeline")
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    return ADAPTERS[name](pipeline, height, width, guidance_scale, max_sequence_length)


def with_transformer(model: FlowModel, transformer: nn.Module) -> FlowModel:
    """The same model with another transformer; everything else is shared."""
    pipeline = model.pipeline
    parts = {**pipeline.components, "transformer": transformer}
    adapter: Any = model  # every adapter is a dataclass with its pipeline
    other: FlowModel = replace(adapter, pipeline=type(pipeline)(**parts))
    return other


def _check_supported(name: str, what: str) -> None:
    if name not in ADAPTERS:
        raise ValueError(f"{what}: a {name} is not supported, which are {', '.join(ADAPTERS)}")
