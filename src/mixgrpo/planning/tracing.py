"""What the calls of a model take: bytes and floating-point operations, from running the real network on tensors without
memory. Nothing here is a formula for a particular architecture, so nothing ages with it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.quantized import quantized_bytes, quantized_layers
from mixgrpo.models.resting import text_encoders
from mixgrpo.recipe.schema import Recipe
from mixgrpo.training.policy import make_trainable, masters

from .counting import LiveBytes
from .published import modules
from .shrinking import Shrunk
from .sized import sized_model
from .stand_in import NAME, STAND_IN, present, remembered_casts

_TEXT_ENCODER_BLOCKS = ("block", "layers")
_PROMPT = Prompt("a", {})


@dataclass(frozen=True)
class Call:
    """Of so many rows: what one more row adds, and what is there without any."""

    flops: float
    """A row."""
    fixed: float
    """Bytes at the peak, whatever the number of rows."""
    per_row: float

    def peak(self, rows: int) -> float:
        return self.fixed + self.per_row * rows


@dataclass(frozen=True)
class Traced:
    """A recipe's model in numbers, as one process without sharding has it."""

    parameters: int
    """Elements of the trained networks."""
    trained: int
    """Elements of theirs that are trained."""
    frozen_bytes: int
    """Of their other weights."""
    unpacked: int
    """Bytes of the largest quantized weight in the model's precision, as which it is multiplied."""
    buffers: int
    """Bytes of theirs, which are not shared out."""
    largest_block: int
    """Elements of the block with the most, trained or not."""
    outside_blocks: int
    """Elements."""
    text_encoders: int
    """Bytes, as are all that follow."""
    vae: int
    conditioning: int
    """A prompt."""
    latents: int
    """An image."""
    encode: Call
    """Of prompts; the others are of images or states."""
    forward: Call
    learn: Call
    """A forward and a backward pass."""
    learn_of_shares: Call
    """The same where blocks are gathered in the precision that is computed in: no copies of weights are made for it."""
    decode: Call


def trace(recipe: Recipe) -> Traced:
    """Takes seconds."""
    with present(), torch.no_grad():
        model = sized_model(recipe.model)
        parts = modules(model.pipeline)
        shrunk = Shrunk(parts, {*model.blocks, *_TEXT_ENCODER_BLOCKS})
        encode = _call(shrunk, parts, recipe, lambda rows: model.adapter.encode(model, [_PROMPT] * rows))
        decode = _call(shrunk, parts, recipe, lambda rows: model.decode(_latents(model, rows)))
        conditioning = model.encode([_PROMPT])

        networks = [*model.networks.values()]
        quantized = [layer.weight for n in networks for layer in quantized_layers(n) if recipe.model.quantize]
        unpacked = max((weight.nbytes for weight in quantized), default=0)
        saved = {id(weight): weight.nbytes - quantized_bytes(weight) for weight in quantized}
        make_trainable(model, recipe)
        for network in networks:
            masters(network)
        blocks = {block: shrunk.blocks[block] for n in networks for block in n.modules() if block in shrunk.blocks}

        def velocity(rows: int) -> Tensor:
            sigma = torch.full((rows,), 0.5, device=STAND_IN)
            return model.velocity(_latents(model, rows), sigma, conditioning[torch.zeros(rows, dtype=torch.long)])

        forward = _call(shrunk, networks, recipe, velocity)
        learn = _call(shrunk, networks, recipe, velocity, backward=True)
        parameters = sum(shrunk.elements(network) for network in networks)
        trained = sum(shrunk.elements(network, trained=True) for network in networks)
        frozen_bytes = sum(
            shrunk.bytes(network, trained=False, size=lambda tensor: tensor.nbytes - saved.get(id(tensor), 0))
            for network in networks
        )
        for parameter in (p for network in networks for p in network.parameters()):
            parameter.grad = None
            parameter.data = parameter.data.to(getattr(torch, recipe.model.dtype))
        return Traced(
            parameters=parameters,
            trained=trained,
            frozen_bytes=frozen_bytes,
            unpacked=unpacked,
            buffers=sum(buffer.nbytes for network in networks for buffer in network.buffers()),
            largest_block=max(map(_elements, blocks)),
            outside_blocks=parameters - sum(times * _elements(block) for block, times in blocks.items()),
            text_encoders=sum(shrunk.bytes(part) for part in text_encoders(model.pipeline)),
            vae=shrunk.bytes(model.pipeline.vae),
            conditioning=sum(tensor.nbytes for tensor in conditioning.per_prompt.values()),
            latents=torch.Size(model.latent_shape).numel() * torch.float32.itemsize,
            encode=encode,
            forward=forward,
            learn=learn,
            learn_of_shares=_call(shrunk, networks, recipe, velocity, backward=True),
            decode=decode,
        )


def _call(
    shrunk: Shrunk,
    parts: Iterable[nn.Module],
    recipe: Recipe,
    run: Callable[[int], Any],
    *,
    backward: bool = False,
) -> Call:
    """From one row and from a full micro-batch. In between the peak is below the line through the two: it is the
    largest of several sums that grow with the rows.
    """
    most = recipe.rollout.micro_batch
    one, all_rows = (_peak(shrunk, [*parts], recipe, partial(run, rows), backward) for rows in (1, most))
    per_row = (all_rows - one) / (most - 1) if most > 1 else 0.0
    return Call(_flops(shrunk, recipe, partial(run, 1), backward), fixed=one - per_row, per_row=per_row)


def _peak(shrunk: Shrunk, parts: Sequence[nn.Module], recipe: Recipe, run: Callable[[], Any], backward: bool) -> float:
    tensors = [tensor for part in parts for tensor in chain(part.parameters(), part.buffers())]
    if backward:  # an iteration has room for gradients from its second call on
        for tensor in tensors:
            tensor.grad = torch.zeros_like(tensor) if tensor.requires_grad else None
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    with _precision(recipe), LiveBytes(STAND_IN, [*tensors, *gradients]) as live, torch.set_grad_enabled(backward):
        with _added_by_blocks(shrunk, lambda: live.now) as left_out:
            result = run()
        if backward:
            result.square().mean().backward()
        peak: float = live.peak + left_out()
        return peak


def _flops(shrunk: Shrunk, recipe: Recipe, run: Callable[[], Any], backward: bool) -> float:
    """Counted apart from the bytes: the counter keeps tensors alive. A backward pass takes as many times the operations
    of its forward pass in the blocks that are left out as in the others.
    """
    with _precision(recipe), FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        with _added_by_blocks(shrunk, counter.get_total_flops) as left_out:
            result = run()
        forward = counter.get_total_flops()
        if backward:
            result.square().mean().backward()
        return counter.get_total_flops() * (1 + left_out() / forward) if forward else 0.0


@contextmanager
def _precision(recipe: Recipe) -> Iterator[None]:
    dtype: torch.dtype = getattr(torch, recipe.model.dtype)
    with remembered_casts(), torch.autocast(NAME, dtype, enabled=dtype != torch.float32):
        yield


@contextmanager
def _added_by_blocks(shrunk: Shrunk, count: Callable[[], float]) -> Iterator[Callable[[], float]]:
    """By how much the forward passes of the blocks that are left out would have raised a count: each by as much as that
    of the block that stands for it.
    """
    before, added = dict[nn.Module, float](), 0.0

    def enter(block: nn.Module, _: object) -> None:
        before[block] = count()

    def leave(block: nn.Module, *_: object) -> None:
        nonlocal added
        added += (shrunk.blocks[block] - 1) * (count() - before.pop(block))

    hooks = [
        hook
        for block in shrunk.blocks
        for hook in (block.register_forward_pre_hook(enter), block.register_forward_hook(leave))
    ]
    try:
        yield lambda: added
    finally:
        for hook in hooks:
            hook.remove()


def _latents(model: PipelineModel, rows: int) -> Tensor:
    return torch.zeros(rows, *model.latent_shape, device=STAND_IN)


def _elements(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
