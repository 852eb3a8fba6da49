"""How long an iteration takes, from counted operations and bytes at stated rates.

    a stage with sharding: max(operations / rate, bytes / link, offloaded bytes / bus), because blocks are fetched while
                           others compute
    the same on one GPU:   operations / rate + offloaded bytes / bus, because torch then copies a block when it runs it
    gradients without sharding: bytes / link on top, once a step of the optimizer

The longest of all GPUs' shares counts. Rewards, copies between memories and checkpoints are not in it.
"""

from dataclasses import dataclass

import torch

from mixgrpo.recipe.pricing import counting_grid
from mixgrpo.recipe.schema import Recipe

from .memory import Layout, images_per_gpu
from .tracing import Traced

_REDUCED = 4
"""Gradients are summed in float32."""


@dataclass(frozen=True)
class Rates:
    """Of each GPU, a second."""

    flops: float
    link: float
    """Bytes, to and from other GPUs."""
    bus: float
    """Bytes, to and from the machine's memory."""


@dataclass(frozen=True)
class Work:
    """Of one GPU, in one stage of an iteration."""

    flops: float
    sent: float = 0.0
    """Bytes that it sends, and receives."""
    copied: float = 0.0
    """Bytes of its offloaded shares."""
    overlaps: bool = True

    def seconds(self, rates: Rates) -> float:
        compute, link, bus = self.flops / rates.flops, self.sent / rates.link, self.copied / rates.bus
        return max(compute, link, bus) if self.overlaps else compute + link + bus


def work_of(traced: Traced, recipe: Recipe, layout: Layout) -> dict[str, Work]:
    """By stage."""
    images, group = images_per_gpu(recipe, layout.gpus), recipe.rollout.group_size
    prompts, micro = images // group, recipe.rollout.micro_batch
    shared = recipe.speed.share_computation and recipe.rollout.shared_noise
    plan = recipe.plan_at(0, counting_grid(recipe))
    price = plan.price(group, shared)

    def calls(common: int, own: int) -> int:
        """Of the network, for so many steps that groups have in common and that images have for themselves."""
        return common * -(-(prompts if shared else images) // micro) + own * -(-images // micro)

    common_trained = sum(step < plan.num_common for step in plan.trained)
    forwards = calls(plan.num_common, len(plan.steps) - plan.num_common)
    passes = calls(common_trained, len(plan.trained) - common_trained)
    extra = (recipe.update.minibatches > 1) + (recipe.objective.kl_weight > 0)  # old velocities, and the reference's
    gathered = gathered_bytes(traced, recipe, layout)
    share, gradients = offloaded_bytes(traced, recipe, layout)
    overlaps = layout.shards > 1
    flops = images * price.rollout_calls * traced.forward.flops
    rollout = Work(flops, forwards * gathered, forwards * share, overlaps)
    update = Work(
        images * price.update_passes * (traced.learn.flops + extra * traced.forward.flops),
        passes * ((2 + extra) * gathered + scattered_bytes(traced, layout)) + gradient_bytes(traced, recipe, layout),
        passes * ((2 + extra) * share + gradients),
        overlaps,
    )
    return {
        "encode": Work(prompts * traced.encode.flops),
        "rollout": rollout,
        "decode": Work(images * traced.decode.flops),
        "update": update,
    }


def gathered_bytes(traced: Traced, recipe: Recipe, layout: Layout) -> float:
    """That a GPU sends so that all have the whole network once: its share, to each of the others."""
    itemsize: int = getattr(torch, recipe.model.dtype).itemsize
    return itemsize * traced.parameters * (layout.shards - 1) / layout.shards


def offloaded_bytes(traced: Traced, recipe: Recipe, layout: Layout) -> tuple[float, float]:
    """Of a GPU's shares of weights and gradients in the machine's memory, which come and go for each call."""
    if not (recipe.parallel.offload and layout.gathers):
        return 0.0, 0.0
    trained = _REDUCED * traced.trained
    return (traced.frozen_bytes + trained) / layout.shards, trained / layout.shards


def scattered_bytes(traced: Traced, layout: Layout) -> float:
    """Of the gradients of one backward pass with sharding: each GPU gets the sum of its share, and between machines
    the shares are summed by a ring.
    """
    if layout.shards == 1:
        return 0.0
    within = _REDUCED * traced.trained * (layout.shards - 1) / layout.shards
    return within + _ring(_REDUCED * traced.trained / layout.shards, layout.replicas)


def gradient_bytes(traced: Traced, recipe: Recipe, layout: Layout) -> float:
    """Of all gradients, once a step of the optimizer, without sharding."""
    if layout.gathers:
        return 0.0
    return recipe.update.minibatches * _ring(_REDUCED * traced.trained, layout.gpus)


def _ring(size: float, members: int) -> float:
    """A sum over a ring: every member sends each part of it twice, but its own."""
    return 2 * size * (members - 1) / members
