"""What a measurement was made on."""

import platform
from typing import Any

import torch

from mixgrpo import __version__

from .setup import Ground


def environment(ground: Ground) -> dict[str, Any]:
    on = torch.cuda.get_device_name(ground.device) if ground.device.type == "cuda" else platform.machine()
    base = ground.base
    model = ground.trainer(ground.recipe("mixgrpo")).model
    return {
        "mixgrpo": __version__,
        "torch": torch.__version__,
        "device": on,
        "threads": torch.get_num_threads(),
        "parameters": sum(parameter.numel() for parameter in model.transformer.parameters()),
        "image_tokens": model.latent_shape[0],
        "dtype": base.model.dtype,
        "tune": base.tune,
        "prompts": ground.prompts,
        "group_size": ground.group_size,
        "micro_batch": base.rollout.micro_batch,
    }
