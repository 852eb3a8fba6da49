"""What a trainer holds in this process's memory all the time, from shapes alone.

The activations of one micro-batch come on top; the preflight measures them.
"""

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn

from mixgrpo.models.quantized import stored_bytes
from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import local
from mixgrpo.training.trainer import Trainer

GIB = 2**30


def held(trainer: Trainer) -> dict[str, int]:
    """Bytes by purpose. Gradients and each of AdamW's two moments are as large as the trained weights."""
    recipe, weights = trainer.recipe, trainer.policy.weights
    device = trainer.model.device
    trained = _size(_there(weights.parameters.values(), device))
    modules = [part for part in trainer.model.pipeline.components.values() if isinstance(part, nn.Module)]
    images = len(distributed.local_range(recipe.rollout.prompts)) * recipe.rollout.group_size
    return {
        "pipeline": sum(_size(_tensors(module, device)) for module in modules),
        "gradients": trained,
        "optimizer": 2 * trained,
        "average": _size(_there(weights.average.values(), device)),
        "KL reference": _reference(trainer),
        "kept states": images
        * recipe.kept_latents
        * torch.Size(trainer.model.latent_shape).numel()
        * torch.float32.itemsize,
    }


def _reference(trainer: Trainer) -> int:
    """Of the networks that the reference has for itself: a copy, or none where adapters are left out."""
    if trainer.policy.reference is None:
        return 0
    trained = {*trainer.model.networks.values()}
    with trainer.policy.reference() as frozen:
        copies = [network for network in frozen.networks.values() if network not in trained]
        return sum(_size(_tensors(network, trainer.model.device)) for network in copies)


def _tensors(module: nn.Module, device: torch.device) -> Iterable[Tensor]:
    return _there(chain(module.parameters(), module.buffers()), device)


def _there(tensors: Iterable[Tensor], device: torch.device) -> Iterable[Tensor]:
    """Those on the device: text encoders and offloaded shares wait elsewhere."""
    return (tensor for tensor in tensors if tensor.device.type == device.type)


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(stored_bytes(local(tensor)) for tensor in tensors)
