"""What makes a run faster and leaves what it computes as it is, up to rounding.

Each lever can be switched off; `mixgrpo bench --levers` says what each gives. Those that change what is computed -
window, solver, compressed suffix - are the recipe's own sections.
"""

import os
import shutil
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import nn

from mixgrpo.recipe.sections import Section

if TYPE_CHECKING:  # a recipe is read without diffusers
    from mixgrpo.models.base import FlowModel


class SpeedConfig(Section):
    share: bool = True
    """What a group has in common is computed once, in rollout and update."""
    overlap_rewards: bool = True
    """Rewards are computed on threads of their own while the next images are drawn."""
    fused_optimizer: bool = True
    """AdamW's step in one kernel."""
    channels_last: bool = True
    """The VAE's weights lie as convolutions read them."""
    text_cache: str | None = None
    """A folder where text embeddings are kept, so that no prompt is encoded twice, in this run or another."""
    text_cache_gib: float = Field(default=10.0, gt=0)
    """How large it may become. FLUX.1 takes 4 MiB a prompt."""
    compile: bool = False
    """torch.compile on the transformer's repeated blocks and the VAE's decoder. Takes a minute before the first images,
    and on a CPU a C++ compiler; pays in runs of a quarter of an hour and more. A run resumed compiles anew, and may
    then round otherwise than one that never stopped."""


def speed_up(model: "FlowModel", settings: SpeedConfig) -> None:
    """Pull the levers that lie in the model, once, before it is used."""
    vae = model.pipeline.vae
    if settings.channels_last:
        for layer in vae.modules():
            if isinstance(layer, nn.Conv2d | nn.Conv3d):
                last = torch.channels_last if isinstance(layer, nn.Conv2d) else torch.channels_last_3d
                layer.weight.data = layer.weight.data.contiguous(memory_format=last)
    if settings.compile:
        _check_compiler(next(model.transformer.parameters()).device)
        for name in model.blocks:
            for block in getattr(model.transformer, name):
                block.compile()
        vae.decoder.compile()


def _check_compiler(device: torch.device) -> None:
    """torch.compile finds out when the first images are due, in forty lines."""
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(f"speed.compile = True: on a CPU it needs a C++ compiler, and there is no {compiler}")
