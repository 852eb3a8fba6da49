"""The supported models. A new one is a file beside these and a line in `ADAPTERS`."""

import torch
from diffusers import DiffusionPipeline
from torch import nn

from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.tiny import path as tiny_path

from .base import Adapter, FlowModel, PipelineModel
from .flux import FLUX
from .qwen_image import QWEN_IMAGE
from .sd3 import STABLE_DIFFUSION_3

# By the class name that a pipeline folder states in its model_index.json.
ADAPTERS: dict[str, Adapter] = {
    "FluxPipeline": FLUX,
    "StableDiffusion3Pipeline": STABLE_DIFFUSION_3,
    "QwenImagePipeline": QWEN_IMAGE,
}


def load_model(config: ModelConfig, device: str | torch.device = "cpu") -> FlowModel:
    """Load a pipeline from a folder or the hub. Its class is checked before any weights are loaded."""
    path = tiny_path() if config.path == "tiny" else config.path
    _check_supported(DiffusionPipeline.load_config(path)["_class_name"])
    pipeline = DiffusionPipeline.from_pretrained(path, dtype=getattr(torch, config.dtype))
    return adapt(pipeline.to(device), config.height, config.width, config.guidance_scale, config.max_sequence_length)


def adapt(
    pipeline: DiffusionPipeline,
    height: int,
    width: int,
    guidance_scale: float | None = None,
    max_sequence_length: int | None = None,
) -> PipelineModel:
    """A loaded pipeline as a flow model. All of it is frozen and put into eval mode, so that rollout and update agree;
    the trainer unfreezes what is trained.
    """
    name = type(pipeline).__name__
    _check_supported(name)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    return PipelineModel(ADAPTERS[name], pipeline, height, width, guidance_scale, max_sequence_length)


def _check_supported(name: str) -> None:
    if name not in ADAPTERS:
        raise ValueError(f"{name} is not supported. Supported: {', '.join(ADAPTERS)}")
