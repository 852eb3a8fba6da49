"""The models we train: one thin adapter each over its diffusers pipeline.

A new model is one file beside these and one line in `ADAPTERS`.
"""

from collections.abc import Callable

import torch
from diffusers import DiffusionPipeline

from ..config import ModelConfig
from .base import Conditioning, FlowModel
from .flux import Flux
from .qwen_image import QwenImage
from .sd3 import StableDiffusion3

__all__ = ["ADAPTERS", "Conditioning", "FlowModel", "load_model"]

# By the class name a pipeline folder states in its model_index.json.
ADAPTERS: dict[str, Callable[..., FlowModel]] = {
    "FluxPipeline": Flux,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "QwenImagePipeline": QwenImage,
}


def load_model(config: ModelConfig, device: str | torch.device = "cpu") -> FlowModel:
    """Load a pipeline and choose its adapter by the pipeline's own class.

    The class is read before the weights, so that an unsupported model is refused at once.
    """
    name = DiffusionPipeline.load_config(config.path)["_class_name"]
    if name not in ADAPTERS:
        raise ValueError(f"model.path = {config.path}: {name} is not supported, which are {', '.join(ADAPTERS)}")
    pipeline = DiffusionPipeline.from_pretrained(config.path, dtype=getattr(torch, config.dtype)).to(device)
    return ADAPTERS[name](pipeline, config.height, config.width, config.guidance_scale, config.max_sequence_length)
