"""What a trainer holds in memory all the time, from shapes alone, and how much the device has.

What comes on top, the activations of one micro-batch, is measured by the preflight.
"""

import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mixgrpo.training.trainer import Trainer

GIB = 2**30


def held(trainer: Trainer) -> dict[str, int]:
    """Bytes, by what they are for. Gradients and AdamW's two moments are as large as what is trained."""
    recipe, trained = trainer.recipe, _size(trainer.parameters.values())
    modules = [part for part in trainer.model.pipeline.components.values() if isinstance(part, nn.Module)]
    copied = recipe.update.kl > 0 and recipe.tune == "full"
    images = recipe.rollout.prompts * recipe.rollout.group_size
    # Of every step in the window, where it led and its mean; and where it would have led straight to the picture.
    kept = len(recipe.plan_at(0, trainer.grid).window) * (3 if recipe.credit == "picture" else 2)
    return {
        "pipeline": sum(_size(module.parameters()) for module in modules),
        "gradients": trained,
        "optimizer": 2 * trained,
        "average": _size(trainer.average.values()),
        "KL reference": _size(trainer.model.transformer.parameters()) if copied else 0,
        "kept states": images * kept * torch.Size(trainer.model.latent_shape).numel() * torch.float32.itemsize,
    }


def available(device: torch.device) -> int:
    """All of the GPU's memory, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
