"""The policy update: a few optimizer steps on what one rollout sampled.

Each step takes a mini-batch of the images and all their terms. The model is evaluated at unique states, `micro_batch`
at a time, and the gradient is accumulated:

    loss = mean over images and terms of the objective's loss
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from mixgrpo.objectives.objective import Objective, Selection, Term, Velocities
from mixgrpo.sampling.field import Conditioning, VelocityField

from .policy import ModelContext


class UpdateStats:
    """Sums over this process's images and terms. They stay on the device until they are read: no sync in between."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self.model_rows = 0
        """Rows of forward-backward passes."""
        self._first_ratio_error: Tensor | None = None

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().float().sum()

    def add_first_ratio_error(self, ratio_error: Tensor) -> None:
        largest = ratio_error.detach().max()
        before = self._first_ratio_error
        self._first_ratio_error = largest if before is None else torch.maximum(before, largest)

    def largest_first_ratio_error(self) -> float | None:
        """The largest |ratio - 1| before anything was learned: the numerical mismatch of rollout and update. None if no
        loss had a ratio.
        """
        return None if self._first_ratio_error is None else self._first_ratio_error.item()

    def sums(self) -> dict[str, float]:
        return {name: value.item() for name, value in self._sums.items()}


class ImageRef(NamedTuple):
    """An image of the iteration: the rank that has it, and its number there."""

    rank: int
    number: int


@dataclass(frozen=True)
class Minibatch:
    images: list[int]
    """This rank's images, by their numbers on it."""
    size: int
    """Number of images over all ranks."""


def minibatches(groups: Sequence[Sequence[ImageRef]], count: int, key: str, rank: int) -> list[Minibatch]:
    """Split the images of all ranks into mini-batches: groups in random order, kept together as far as possible, so
    that what a group shares is computed once. Every rank computes the same split and keeps its own images.
    """
    order = [*groups]
    random.Random(key).shuffle(order)
    images = [image for group in order for image in group]
    bounds = [round(i * len(images) / count) for i in range(count + 1)]
    return [
        Minibatch([image.number for image in images[start:end] if image.rank == rank], end - start)
        for start, end in pairwise(bounds)
        if end > start
    ]


@torch.no_grad()
def old_velocities(
    model: VelocityField, terms: Sequence[Term], conditioning: Conditioning, images: Tensor, micro_batch: int
) -> list[Tensor]:
    """The velocities of the policy before the update, for each term, at the states of these images; 0 elsewhere."""
    results = []
    for term in terms:
        velocities = torch.zeros_like(term.states)
        for selection in term.selections(images, micro_batch):
            velocities[selection.states] = model.velocity(*_inputs(term, selection, conditioning))
        results.append(velocities)
    return results


def accumulate(
    model: VelocityField,
    objective: Objective,
    terms: Sequence[Term],
    conditioning: Conditioning,
    images: Tensor,
    *,
    total: float,
    micro_batch: int,
    reference: ModelContext | None,
    old: Sequence[Tensor] | None,
    first: bool,
    stats: UpdateStats,
) -> None:
    """Add the gradient of these images' terms. The mean is over `total`, which counts all processes. `old`: the old
    policy's velocities, None if the current policy is the old one. `first`: nothing has been learned yet.
    """
    for number, term in enumerate(terms):
        for selection in term.selections(images, micro_batch):
            velocities = _velocities(
                model, objective, term, selection, conditioning, reference, None if old is None else old[number]
            )
            loss = term.loss(selection, velocities)
            stats.add(count=torch.ones_like(loss.value), **{"loss": loss.value, **loss.metrics})
            stats.model_rows += len(selection.states)
            if first and loss.ratio_error is not None:
                stats.add_first_ratio_error(loss.ratio_error)
            (loss.value.sum() / total).backward()  # type: ignore[no-untyped-call]


def _velocities(
    model: VelocityField,
    objective: Objective,
    term: Term,
    selection: Selection,
    conditioning: Conditioning,
    reference: ModelContext | None,
    old: Tensor | None,
) -> Velocities:
    inputs = _inputs(term, selection, conditioning)
    current = model.velocity(*inputs)
    frozen = None
    if objective.uses_reference and reference is not None:
        with torch.no_grad(), reference() as before_training:
            frozen = before_training.velocity(*inputs)
    return Velocities(current, current.detach() if old is None else old[selection.states], frozen)


def _inputs(term: Term, selection: Selection, conditioning: Conditioning) -> tuple[Tensor, Tensor, Conditioning]:
    rows = selection.states
    return term.states[rows], term.sigma[rows], conditioning[term.prompt_of_state[rows]]
