"""The speed settings that change the model itself: where its parts are, memory layout, and compilation."""

import os
import shutil

import torch
from torch import nn

from mixgrpo.models.base import FlowModel
from mixgrpo.models.resting import rest, text_encoders
from mixgrpo.recipe.sections import SpeedConfig


def place(model: FlowModel, device: torch.device, settings: SpeedConfig) -> None:
    """All but the networks that are trained on the device. Text encoders come to it when they are needed."""
    resting = [] if settings.keep_text_encoders or device.type == "cpu" else text_encoders(model.pipeline)
    rest(resting, device)
    elsewhere = [*resting, *model.networks.values()]
    for part in model.pipeline.components.values():
        if isinstance(part, nn.Module) and part not in elsewhere:
            part.to(device)


def speed_up(model: FlowModel, settings: SpeedConfig) -> None:
    """Apply them once, before the model is used."""
    vae = model.pipeline.vae
    if settings.channels_last:
        for layer in vae.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                last = torch.channels_last if isinstance(layer, nn.Conv2d) else torch.channels_last_3d
                layer.weight.data = layer.weight.data.contiguous(memory_format=last)
    if settings.compile:
        _check_compiler(model.device)
        for network in model.networks.values():
            for name in model.blocks:
                for block in getattr(network, name):
                    block.compile()
        vae.decoder.compile()


def _check_compiler(device: torch.device) -> None:
    """torch.compile would report a missing compiler at the first images, in forty lines."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(f"speed.compile = True: on a CPU it needs a C++ compiler, and there is no {compiler}")
