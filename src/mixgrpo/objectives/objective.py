"""The seam between a rollout and the update: what is learned.

An objective turns a rollout and its advantages into terms. A term names states at which the trained model is evaluated,
and a loss of the velocity there, one number per image. How terms are micro-batched, summed over processes and counted
is the update's business, whatever the objective.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout


@dataclass(frozen=True)
class Selection:
    """The part of a term that one model call covers."""

    images: Tensor
    """Which of the term's N images."""
    states: Tensor
    """Which of the term's U states."""
    state_of: Tensor
    """[images, D]: the positions of each image's states in `states`."""


@dataclass(frozen=True)
class Velocities:
    """At the states of a selection, in float32."""

    current: Tensor
    """Of the model as it is now. Differentiable."""
    old: Tensor
    """Of the policy that drew the rollout."""
    reference: Tensor | None
    """Of the model before training, if the objective uses it."""
    average: Tensor | None = None
    """Of the averaged weights as they were before the update, if the objective uses them."""


@dataclass(frozen=True)
class Loss:
    """One number per image of a selection."""

    value: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """What is reported, averaged over images and terms."""
    ratio_error: Tensor | None = None
    """|ratio - 1|, for objectives with a ratio to the old policy. At the first update it must be about 0."""


@dataclass(frozen=True)
class Term:
    """States at which the model is evaluated, and the loss there. Images may share a state; an image may have several,
    and its loss sees them together.
    """

    states: Tensor
    """[U, *latent_shape]"""
    sigma: Tensor
    """[U]"""
    prompt_of_state: Tensor
    """[U], rows of the conditioning."""
    state_of: Tensor
    """[N, D], the D states of each image."""
    images: range
    """Which of the rollout's images these N are."""
    loss: Callable[[Selection, Velocities], Loss]

    def selections(self, images: Tensor, micro_batch: int) -> Iterator[Selection]:
        """All of these images that it is of, whole, at most `micro_batch` unique states at a time (or those of a single
        image). A selection numbers the term's images from 0.
        """
        images = images[(images >= self.images.start) & (images < self.images.stop)] - self.images.start
        chosen: list[int] = []
        states: set[int] = set()
        for own, position in sorted(zip(self.state_of[images].tolist(), range(len(images)), strict=True)):
            if chosen and len(states.union(own)) > micro_batch:
                yield self._selection(images, chosen)
                chosen, states = [], set()
            chosen.append(position)
            states.update(own)
        if chosen:
            yield self._selection(images, chosen)

    def nothing(self) -> Selection:
        """A model call at the first state, for no image."""
        return Selection(self.state_of.new_empty(0), torch.zeros(1, dtype=torch.long), self.state_of[:0])

    def _selection(self, images: Tensor, positions: list[int]) -> Selection:
        chosen = images[sorted(positions)]
        states, state_of = torch.unique(self.state_of[chosen], return_inverse=True)
        return Selection(chosen, states, state_of)


class Objective(Protocol):
    @property
    def needs_window(self) -> bool:
        """Whether it learns from the transitions of an SDE window. Otherwise any sampler's final latents do."""

    @property
    def uses_old_policy(self) -> bool:
        """Whether its terms read `Velocities.old`."""

    @property
    def uses_average(self) -> bool:
        """Whether its terms read `Velocities.average`."""

    @property
    def uses_reference(self) -> bool:
        """Whether its terms read `Velocities.reference`."""

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        """What to learn from these images. `advantages` is [N], NaN for images without a score, which no selection will
        contain. `noise` gives reproducible fresh draws, on the CPU.
        """
