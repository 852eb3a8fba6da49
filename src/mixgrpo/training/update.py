"""The policy update: a few optimizer steps on what one rollout sampled.

Each step takes its share of the images and all their trained transitions. The model runs on unique states,
`micro_batch` of them at a time, and the gradient is accumulated:

    loss = mean over transitions of  max(-A ratio, -A clip(ratio)) + kl_weight * KL(policy || reference)
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise

import torch
from torch import Tensor

from mixgrpo.models.base import Conditioning, VelocityField
from mixgrpo.objectives.policy_loss import gaussian_kl, policy_loss
from mixgrpo.recipe.sections import UpdateConfig
from mixgrpo.sampling.rollout import Rollout, Transition, transition_means
from mixgrpo.sampling.steppers.gaussian import log_prob

Reference = Callable[[], AbstractContextManager[VelocityField]]
"""Enters the frozen model that the KL refers to."""


class UpdateStats:
    """Sums over the transitions of this process, on its device until they are asked for: no sync in between."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.model_rows = 0
        """Forward-backwards, in rows."""
        self.first_gap = torch.zeros(())
        """The largest |ratio - 1| before anything was learned: the numerical gap between rollout and update."""

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().float().sum()

    def widen_first_gap(self, shift: Tensor) -> None:
        self.first_gap = torch.maximum(self.first_gap.to(shift.device), shift.detach().max())

    def sums(self) -> dict[str, float]:
        return {name: value.item() for name, value in self._sums.items()}


def shares(groups: Sequence[Sequence[int]], updates: int, key: str) -> list[list[int]]:
    """The images of each optimizer step: groups of images in random order, kept together as far as possible, so
    that what a group has in common is computed once. Known to all processes alike.
    """
    order = [*groups]
    random.Random(key).shuffle(order)
    images = [image for group in order for image in group]
    bounds = [round(i * len(images) / updates) for i in range(updates + 1)]
    return [images[start:end] for start, end in pairwise(bounds) if end > start]


def accumulate(
    model: VelocityField,
    sampled: Rollout,
    conditioning: Conditioning,
    advantages: Tensor,
    images: Tensor,
    *,
    total_transitions: float,
    micro_batch: int,
    settings: UpdateConfig,
    reference: Reference,
    first: bool,
    stats: UpdateStats,
) -> None:
    """Add the gradient of these images' transitions; the mean is over `total_transitions`, of all processes."""
    for transition in sampled.transitions:
        for part, rows in _micro_batches(transition, images, micro_batch):
            means = transition_means(model, part, conditioning)
            current = log_prob(part.step.move, part.x_next, means[part.state_of])
            policy = policy_loss(current, part.log_prob, advantages[rows], settings.clip_range)
            shift = (policy.ratio - 1).abs()
            stats.add(transitions=torch.ones_like(shift), loss=policy.loss, clipped=policy.clipped, ratio_shift=shift)
            stats.model_rows += len(means)
            if first:
                stats.widen_first_gap(shift)
            loss = policy.loss.sum()
            if settings.kl > 0:
                with torch.no_grad(), reference() as frozen:
                    target = transition_means(frozen, part, conditioning)
                kl = gaussian_kl(means, target, part.step.move.std)[part.state_of]
                loss = loss + settings.kl * kl.sum()
                stats.add(kl=kl)
            (loss / total_transitions).backward()  # type: ignore[no-untyped-call]


def _micro_batches(transition: Transition, images: Tensor, size: int) -> Iterator[tuple[Transition, Tensor]]:
    """At most `size` unique states at a time, with the images that left from them."""
    left_from = transition.state_of[images]
    states_left = torch.unique(left_from)
    for start in range(0, len(states_left), size):
        states = states_left[start : start + size]
        rows = images[torch.isin(left_from, states)]
        yield transition.of_images(rows), rows
