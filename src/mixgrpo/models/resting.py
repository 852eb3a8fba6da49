"""Text encoders wait in the machine's memory and come to the accelerator while prompts are encoded: T5-XXL alone would
hold 9 GiB there during a whole run.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn


def text_encoders(pipeline: DiffusionPipeline) -> list[nn.Module]:
    return [
        part
        for name, part in sorted(pipeline.components.items())
        if name.startswith("text_encoder") and isinstance(part, nn.Module)
    ]


def rest(modules: Sequence[nn.Module], device: torch.device) -> None:
    """Off the device, in memory that can be copied to it at full speed."""
    replace_tensors(modules, lambda tensor: tensor.cpu().pin_memory() if device.type == "cuda" else tensor.cpu())


@contextmanager
def in_place(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """On the device. What waits elsewhere is copied there and, because it is frozen, not copied back."""
    if all(tensor.device.type == device.type for _, _, tensor in _tensors(modules)):
        yield
        return
    waiting = [*_tensors(modules)]
    replace_tensors(modules, lambda tensor: tensor.to(device, non_blocking=True))
    try:
        yield
    finally:
        for module, name, tensor in waiting:
            setattr(module, name, tensor)


def replace_tensors(modules: Sequence[nn.Module], other: Callable[[Tensor], Tensor]) -> None:
    """Each tensor once, however many layers share it; frozen."""
    made: dict[Tensor, Tensor] = {}
    for module, name, tensor in _tensors(modules):
        if tensor not in made:
            data = other(tensor.detach())
            made[tensor] = nn.Parameter(data, requires_grad=False) if isinstance(tensor, nn.Parameter) else data
        setattr(module, name, made[tensor])


def _tensors(modules: Sequence[nn.Module]) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Each with the layer that has it and its name there."""
    for part in chain.from_iterable(module.modules() for module in modules):
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            yield part, name, tensor
