"""What a measurement was made on."""

import platform
from typing import Any

import torch

from mixgrpo import __version__

from .setup import BenchSetup


def machine(device: torch.device) -> dict[str, Any]:
    return {
        "mixgrpo": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def environment(setup: BenchSetup) -> dict[str, Any]:
    """The machine, the model and the size of an iteration."""
    model = setup.trainer(setup.recipe("mixgrpo")).model
    return {
        **machine(setup.device),
        "parameters": sum(
            parameter.numel() for network in model.networks.values() for parameter in network.parameters()
        ),
        "latent_shape": [*model.latent_shape],
        "dtype": setup.base.model.dtype,
        "tune": setup.base.tune,
        "prompts": setup.prompts,
        "group_size": setup.group_size,
        "micro_batch": setup.base.rollout.micro_batch,
    }
