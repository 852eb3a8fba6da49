"""The supported models. A new one is a file beside these and a line in `ADAPTERS`."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from mixgrpo.recipe.sections import ModelConfig, Quantization
from mixgrpo.tiny import path as tiny_path

from .base import Adapter, FlowModel, PipelineModel
from .flux import FLUX
from .flux2_klein import FLUX_2_KLEIN
from .quantized import quantization_config
from .qwen_image import QWEN_IMAGE
from .qwen_image_21 import QWEN_IMAGE_21
from .sd3 import STABLE_DIFFUSION_3
from .z_image import Z_IMAGE

# By the class name that a pipeline folder states in its model_index.json.
ADAPTERS: dict[str, Adapter] = {
    "FluxPipeline": FLUX,
    "StableDiffusion3Pipeline": STABLE_DIFFUSION_3,
    "QwenImagePipeline": QWEN_IMAGE,
    "QwenImage21Pipeline": QWEN_IMAGE_21,
    "Flux2KleinPipeline": FLUX_2_KLEIN,
    "ZImagePipeline": Z_IMAGE,
}


def load_model(config: ModelConfig, device: str | torch.device = "cpu") -> FlowModel:
    """Load a pipeline from a folder or the hub. Its class is checked before any weights are loaded, and weights that do
    not fit are refused: diffusers itself only warns, and goes on with random ones.
    """
    path = tiny_path() if config.path == "tiny" else config.path
    index = DiffusionPipeline.load_config(path)
    _check_supported(index["_class_name"])
    dtype = getattr(torch, config.dtype)
    trained = ADAPTERS[index["_class_name"]].networks
    networks = {
        name: load_network(kind, path, dtype, subfolder=name, quantize=config.quantize if name in trained else None)
        for name, kind in _networks(index).items()
    }
    pipeline = DiffusionPipeline.from_pretrained(path, dtype=dtype, **networks)
    return adapted(pipeline.to(device), config)


def load_network(
    kind: Any,
    path: str | Path,
    dtype: torch.dtype,
    subfolder: str | None = None,
    quantize: Quantization | None = None,
) -> Any:
    """A network of diffusers or transformers with exactly the weights that are in the folder."""
    network, report = kind.from_pretrained(
        path,
        subfolder=subfolder or "",
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report, with the others
        quantization_config=quantization_config(quantize) if quantize else None,
    )
    problems = [
        f"{words} {_some(report[found])}"
        for found, words in (
            ("missing_keys", "lack"),
            ("unexpected_keys", "have no use for"),
            ("mismatched_keys", "have another shape for"),
        )
        if report[found]
    ]
    if problems:
        whose = f"the weights of {subfolder} in" if subfolder else "the weights in"
        raise ValueError(f"{whose} {path} {', '.join(problems)}")
    return network


def adapted(pipeline: DiffusionPipeline, config: ModelConfig) -> PipelineModel:
    if config.vae_slicing:
        pipeline.vae.enable_slicing()
    if config.vae_tiling:
        pipeline.vae.enable_tiling()
    return adapt(pipeline, config.height, config.width, config.guidance_scale, config.max_sequence_length)


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


def _networks(index: dict[str, Any]) -> dict[str, Any]:
    """The classes of a pipeline's networks by name, as its model_index.json states them."""
    kinds = {
        name: getattr(import_module(entry[0]), entry[1])
        for name, entry in index.items()
        if isinstance(entry, (list, tuple)) and entry[0] in ("diffusers", "transformers")
    }
    return {name: kind for name, kind in kinds.items() if issubclass(kind, nn.Module)}


def _some(keys: Any) -> str:
    """Up to three names; transformers gives a set, and a name that does not fit comes with its two shapes."""
    names = sorted(key if isinstance(key, str) else key[0] for key in keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
