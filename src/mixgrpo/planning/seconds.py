"""How long an iteration takes, from counted operations and bytes at stated rates.

    sending = max(bytes / link, bytes that leave the machine / network)
    a stage with sharding: max(operations / rate, sending, offloaded bytes / bus), because blocks are fetched while
                           others compute
    the same on one GPU:   operations / rate + offloaded bytes / bus, because torch then copies a block when it runs it
    gradients without sharding: sending on top, once a step of the optimizer

The longest of all GPUs' shares counts. Rewards, copies between memories and checkpoints are not in it.
"""

from dataclasses import dataclass

import torch

from mixgrpo.objectives.build import build_objective
from mixgrpo.recipe.pricing import counting_grid, price_of_iteration
from mixgrpo.recipe.schema import Recipe

from .memory import Layout, images_per_gpu, learned_per_gpu
from .tracing import Traced

_REDUCED = 4
"""Gradients are summed in float32."""


@dataclass(frozen=True)
class Rates:
    """Of each GPU, a second."""

    flops: float
    link: float
    """Bytes, to other GPUs of the machine."""
    network: float
    """Bytes, from the whole machine to others."""
    bus: float
    """Bytes, to and from the machine's memory."""


@dataclass(frozen=True)
class Work:
    """Of one GPU, in one stage of an iteration."""

    flops: float
    sent: float = 0.0
    """Bytes that it sends, and receives."""
    leaves: float = 0.0
    """Bytes that leave its machine. A ring over all GPUs leaves a machine once, whatever the number of its GPUs."""
    copied: float = 0.0
    """Bytes of its offloaded shares."""
    overlaps: bool = True
    scattered: float = 0.0
    """Bytes of those sent that are gradients on the way to the process that keeps their sum."""

    def seconds(self, rates: Rates) -> float:
        compute, bus = self.flops / rates.flops, self.copied / rates.bus
        sending = max(self.sent / rates.link, self.leaves / rates.network)
        return max(compute, sending, bus) if self.overlaps else compute + sending + bus


def work_of(traced: Traced, recipe: Recipe, layout: Layout) -> dict[str, Work]:
    """By stage, on the GPU that has the most to do."""
    images, group, micro = images_per_gpu(recipe, layout.gpus), recipe.rollout.group_size, recipe.rollout.micro_batch
    shared = recipe.speed.share_computation and recipe.rollout.shared_noise
    plan, objective = recipe.plan_at(0, counting_grid(recipe)), build_objective(recipe.objective, recipe.renoise)
    price = price_of_iteration(recipe, 0, shared)

    def calls(common: int, steps: int, images: int, groups: int) -> int:
        """Of the network: `common` of the steps are computed once for the images of a group."""
        return common * -(-(groups if shared else images) // micro) + (steps - common) * -(-images // micro)

    def trained_calls(images: int, groups: int) -> int:
        renoised = -(-images // max(1, micro // recipe.renoised)) if recipe.renoised else 0
        common = sum(step < plan.num_common for step in plan.trained)
        return calls(common, len(plan.trained), images, groups) + renoised

    groups = images // group
    drawn = calls(plan.num_common, len(plan.steps), images, groups)
    learned, turns = learned_per_gpu(recipe, layout.gpus), recipe.update.passes
    minibatches = recipe.update.minibatches * turns
    passes = minibatches * trained_calls(learned, groups if recipe.parts_of_groups > 1 else learned // group)
    looks = (objective.uses_old_policy and minibatches > 1) + objective.uses_average
    old = looks * trained_calls(images, groups)
    reference = passes if objective.uses_reference else 0
    run = recipe.update.minibatches * learned * price.update_passes
    looked_at = (
        looks * images * price.update_passes / turns + (reference > 0) * run
    )  # by old policies and the reference
    flops = run * traced.learn.flops + looked_at * traced.forward.flops
    blocks, root = gathered_bytes(traced, recipe, layout)
    share, gradients = offloaded_bytes(traced, recipe, layout)
    scattered, summed = passes * scattered_bytes(traced, layout), minibatches * summed_bytes(traced, layout)
    drawing = drawn * blocks + root
    learning = (2 * passes + old + reference) * blocks + passes * root + scattered
    together = layout.gpus > layout.per_machine and layout.sharding != "hybrid"  # one ring over all machines
    return {
        "encode": Work(images // group * traced.encode.flops),
        "rollout": Work(
            images * price.rollout_calls * traced.forward.flops,
            drawing,
            leaves=drawing * together,
            copied=drawn * share,
            overlaps=layout.shards > 1,
        ),
        "decode": Work(images * traced.decode.flops),
        "update": Work(
            flops,
            learning + summed,
            leaves=(learning + summed) * together or summed * layout.shards * (layout.sharding == "hybrid"),
            copied=(2 * passes + old + reference) * share + passes * gradients,
            overlaps=layout.shards > 1,
            scattered=scattered,
        ),
    }


def gathered_bytes(traced: Traced, recipe: Recipe, layout: Layout) -> tuple[float, float]:
    """That a GPU sends so that all have the blocks once, for a call, and what lies outside them, which stays for a
    rollout and until a backward pass: its share, to each of the others. Backward passes of a network that is trained
    in part need not gather all of it: then this is the most.
    """
    itemsize: int = getattr(torch, recipe.model.dtype).itemsize
    sent = itemsize * (layout.shards - 1) / layout.shards
    return sent * (traced.parameters - traced.outside_blocks), sent * traced.outside_blocks


def offloaded_bytes(traced: Traced, recipe: Recipe, layout: Layout) -> tuple[float, float]:
    """Of a GPU's shares of weights and gradients in the machine's memory, which come and go for each call."""
    if not (recipe.parallel.offload and layout.gathers):
        return 0.0, 0.0
    trained = _REDUCED * traced.trained
    return (traced.frozen_bytes + trained) / layout.shards, trained / layout.shards


def scattered_bytes(traced: Traced, layout: Layout) -> float:
    """Of the gradients of one backward pass with sharding: each GPU gets the sum of its share."""
    return _REDUCED * traced.trained * (layout.shards - 1) / layout.shards


def summed_bytes(traced: Traced, layout: Layout) -> float:
    """Of gradients that GPUs have the same share of, once a step of the optimizer: of all gradients without sharding,
    between machines with the hybrid form.
    """
    return _ring(_REDUCED * traced.trained / layout.shards, layout.replicas)


def _ring(size: float, members: int) -> float:
    """A sum over a ring: every member sends each part of it twice, but its own."""
    return 2 * size * (members - 1) / members
