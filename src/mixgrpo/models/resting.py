"""What waits in the machine's memory and comes to the accelerator when it is used. Text encoders do so as a whole:
T5-XXL alone would hold 9 GiB during a whole run. A network that only draws may come block by block.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

_Place = tuple[nn.Module, str, Tensor]
"""A tensor, with the layer that has it and its name there."""


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
    waiting = [*_tensors(_parts(modules))]
    if all(tensor.device.type == device.type for _, _, tensor in waiting):
        yield
        return
    _bring(waiting, device)
    try:
        yield
    finally:
        _leave(waiting)


def bring_block_by_block(network: nn.Module, lists: Sequence[str], device: torch.device) -> None:
    """To the device, but for the blocks in these lists: each is copied there for each of its calls, and not back."""
    blocks = [block for name in lists for block in getattr(network, name)]
    rest(blocks, device)
    inside = {part for block in blocks for part in block.modules()}
    _replace(_tensors(part for part in network.modules() if part not in inside), lambda tensor: tensor.to(device))
    for block in blocks:
        _bring_when_called(block, device)


def _bring_when_called(block: nn.Module, device: torch.device) -> None:
    """Not by diffusers' group offloading, which copies the next block while one computes: it exchanges the data of
    parameters, which the device without memory, on which this is tested, does not allow.
    """
    waiting = [*_tensors(block.modules())]
    block.register_forward_pre_hook(lambda *_: _bring(waiting, device))
    block.register_forward_hook(lambda *_: _leave(waiting))


def _bring(waiting: Iterable[_Place], device: torch.device) -> None:
    _replace(waiting, lambda tensor: tensor.to(device, non_blocking=True))


def _leave(waiting: Iterable[_Place]) -> None:
    """What waits elsewhere is in its place again; the copies go."""
    for part, name, tensor in waiting:
        setattr(part, name, tensor)


def replace_tensors(modules: Sequence[nn.Module], other: Callable[[Tensor], Tensor]) -> None:
    """Each tensor once, however many layers share it; frozen."""
    _replace(_tensors(_parts(modules)), other)


def _replace(places: Iterable[_Place], other: Callable[[Tensor], Tensor]) -> None:
    made: dict[Tensor, Tensor] = {}
    for part, name, tensor in places:
        if tensor not in made:
            data = other(tensor.detach())
            made[tensor] = nn.Parameter(data, requires_grad=False) if isinstance(tensor, nn.Parameter) else data
        setattr(part, name, made[tensor])


def _parts(modules: Sequence[nn.Module]) -> Iterator[nn.Module]:
    return chain.from_iterable(module.modules() for module in modules)


def _tensors(parts: Iterable[nn.Module]) -> Iterator[_Place]:
    """Those of each layer itself."""
    for part in parts:
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            yield part, name, tensor
