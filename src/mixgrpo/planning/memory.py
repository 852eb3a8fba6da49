"""Bytes on each GPU, stage by stage of an iteration.

    held in every stage = weights + optimizer + average + reference + VAE (+ text encoders, if they stay)
    a stage             = held + kept states + gradients, where it has them + the peak of its calls

With sharding a GPU holds 1/shards of weights, gradients, optimizer state and average, offloaded none of them. A stage
that runs the network then needs room for the blocks that are gathered: the one that runs, the one that is fetched ahead
where there are other GPUs, and what lies outside the blocks.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from mixgrpo.parallel.sharding import Sharding
from mixgrpo.recipe.schema import Recipe

from .tracing import Traced

_MASTER = 4
"""Bytes of a trained weight, of its gradient, and of each of AdamW's two moments."""

Stage = Literal["encode", "rollout", "decode", "update", "optimizer"]


@dataclass(frozen=True)
class Layout:
    """Of GPUs, and of the networks over them."""

    gpus: int
    per_machine: int
    sharding: Sharding

    @property
    def shards(self) -> int:
        """GPUs that hold a whole network together."""
        return {"none": 1, "full": self.gpus, "hybrid": min(self.gpus, self.per_machine)}[self.sharding]

    @property
    def gathers(self) -> bool:
        """Whether blocks are brought together for each call: from other GPUs, or from the machine's memory."""
        return self.sharding != "none"

    @property
    def replicas(self) -> int:
        return self.gpus // self.shards


@dataclass(frozen=True)
class GpuMemory:
    held: dict[str, float]
    """Bytes by purpose, in every stage."""
    stages: dict[Stage, dict[str, float]]
    """What each stage adds."""

    @property
    def sums(self) -> dict[Stage, float]:
        return {stage: sum(self.held.values()) + sum(added.values()) for stage, added in self.stages.items()}

    @property
    def largest(self) -> Stage:
        return max(self.sums, key=self.sums.__getitem__)


def images_per_gpu(recipe: Recipe, gpus: int) -> int:
    """On the GPU that has the most."""
    return -(-recipe.rollout.prompts // gpus) * recipe.rollout.group_size


def learned_per_gpu(recipe: Recipe, gpus: int) -> int:
    """The images that it has of a mini-batch: whole groups, or a part of each."""
    images, group, count = images_per_gpu(recipe, gpus), recipe.rollout.group_size, recipe.update.minibatches
    return -(-images // count) if recipe.parts_of_groups > 1 else -(-images // group // count) * group


def memory_of(traced: Traced, recipe: Recipe, layout: Layout) -> GpuMemory:
    shards, offload = layout.shards, recipe.parallel.offload
    compute = getattr(torch, recipe.model.dtype).itemsize
    on_gpu = 0 if offload and layout.gathers else 1 / shards
    images = images_per_gpu(recipe, layout.gpus)
    rows = min(recipe.rollout.micro_batch, images)
    learned = min(rows, learned_per_gpu(recipe, layout.gpus))
    uses_reference = recipe.objective.uses_reference
    own_reference = uses_reference and recipe.tune == "full"
    held = {
        "trained weights": _MASTER * traced.trained * on_gpu,
        "frozen weights": traced.frozen_bytes * on_gpu,
        "buffers": traced.buffers,
        "optimizer": 2 * _MASTER * traced.trained * on_gpu,
        "average": _MASTER * traced.trained * on_gpu if recipe.update.ema_decay else 0,
        "KL reference": compute * traced.parameters * on_gpu if own_reference else 0,
        "VAE": traced.vae,
        "text encoders": traced.text_encoders if recipe.speed.keep_text_encoders else 0,
        "embeddings": traced.conditioning * -(-recipe.rollout.prompts // layout.gpus),
    }
    kept = {"kept states": images * recipe.kept_latents * traced.latents}
    at_once = 2 if layout.shards > 1 else 1
    gathered = {
        "gathered blocks": compute * (at_once * traced.largest_block + traced.outside_blocks) if layout.gathers else 0
    }
    unpacked = {"a weight that is unpacked": traced.unpacked} if traced.unpacked else {}
    gradients = {"gradients": _MASTER * traced.trained * on_gpu}
    # A block's gradients are summed in float32, one block while the next one is computed.
    reduced = {"gradients on their way": 2 * _MASTER * _trained_in_a_block(traced) if layout.gathers else 0}
    learn = traced.learn_of_shares if layout.gathers else traced.learn
    activations = learn.peak(learned) + (traced.forward.peak(learned) if uses_reference else 0)
    encoders = {} if recipe.speed.keep_text_encoders else {"text encoders": float(traced.text_encoders)}
    return GpuMemory(
        held,
        {
            "encode": {**encoders, "activations": traced.encode.peak(rows)},
            "rollout": {**kept, **gathered, **unpacked, "activations": traced.forward.peak(rows)},
            "decode": {**kept, "activations": traced.decode.peak(rows)},
            "update": {**kept, **gathered, **unpacked, **gradients, **reduced, "activations": activations},
            "optimizer": {**kept, **gradients},
        },
    )


def _trained_in_a_block(traced: Traced) -> float:
    return traced.largest_block * traced.trained / traced.parameters
