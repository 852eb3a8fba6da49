"""The policy update: a few optimizer steps on what one rollout sampled.

Each step takes a mini-batch of the images and all their terms. The model is evaluated at unique states, `micro_batch`
at a time, and the gradient is accumulated:

    loss = mean over images and terms of the objective's loss
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mixgrpo.objectives.objective import Objective, Selection, Term, Velocities
from mixgrpo.parallel import distributed
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


def groups_of_all_ranks(own: Sequence[Sequence[int]], prompts: int, group_size: int) -> list[list[ImageRef]]:
    """The images to learn from, of all ranks, group by group. `own`: this rank's, by their numbers here."""
    chosen = torch.zeros(len(distributed.local_range(prompts)) * group_size, dtype=torch.uint8)
    chosen[[image for group in own for image in group]] = 1
    rows = iter(torch.split(distributed.gather_rows(chosen, prompts), group_size))
    groups = [
        [ImageRef(rank, number * group_size + image) for image in next(rows).nonzero().flatten().tolist()]
        for rank in range(distributed.world_size())
        for number in range(len(distributed.local_range(prompts, rank)))
    ]
    return [group for group in groups if group]


@dataclass(frozen=True)
class Minibatch:
    images: list[int]
    """This rank's images, by their numbers on it."""
    size: int
    """Number of images over all ranks."""


def minibatches(
    groups: Sequence[Sequence[ImageRef]], count: int, key: str, rank: int, split_groups: bool = False
) -> list[Minibatch]:
    """Split the images of all ranks into mini-batches, of which every rank computes all and keeps its own images.

    Each mini-batch gets whole groups, one of every `count` that follow each other, so that what a group shares is
    computed once and every rank, which has groups that follow each other, has some in each. Groups that are left over
    are cut into `count` parts; all of them, with `split_groups`.
    """
    draw = random.Random(key)
    parts: list[list[ImageRef]] = [[] for _ in range(count)]
    whole = 0 if split_groups else len(groups) // count * count
    for start in range(0, whole, count):
        for part, group in zip(draw.sample(parts, count), groups[start : start + count], strict=True):
            part += group
    left = [image for group in groups[whole:] for image in draw.sample([*group], len(group))]
    for number, image in enumerate(left):
        parts[number % count].append(image)
    return [Minibatch([image.number for image in part if image.rank == rank], len(part)) for part in parts if part]


def select(terms: Sequence[Term], images: Sequence[int], micro_batch: int, *, together: bool) -> list[list[Selection]]:
    """The model calls of each term for these images. `together`: as many in every process, because a sharded network is
    run by all of them at once. One that has fewer images adds calls without any.
    """
    numbers = torch.tensor(images, dtype=torch.long)
    calls = [[*term.selections(numbers, micro_batch)] for term in terms]
    if together:
        counts = [int(most) for most in distributed.largest([len(own) for own in calls])]
        calls = [
            [*own, *[term.nothing()] * (count - len(own))]
            for term, own, count in zip(terms, calls, counts, strict=True)
        ]
    return calls


@torch.no_grad()
def old_velocities(
    model: VelocityField, terms: Sequence[Term], selections: Sequence[Sequence[Selection]], conditioning: Conditioning
) -> list[Tensor]:
    """The velocities of the policy before the update, for each term, at the states selected; 0 elsewhere."""
    results = []
    for term, selected in zip(terms, selections, strict=True):
        velocities = torch.zeros_like(term.states)
        for selection in selected:
            velocities[selection.states] = model.velocity(*_inputs(term, selection, conditioning))
        results.append(velocities)
    return results


def accumulate(
    model: VelocityField,
    objective: Objective,
    terms: Sequence[Term],
    selections: Sequence[Sequence[Selection]],
    conditioning: Conditioning,
    *,
    total: float,
    reference: ModelContext | None,
    old: Sequence[Tensor] | None,
    average: Sequence[Tensor] | None = None,
    first: bool,
    stats: UpdateStats,
    before_backward: Callable[[bool], None],
) -> None:
    """Add the gradient of what is selected of each term. The mean is over `total`, which counts all processes. `old`:
    the old policy's velocities, None if the current policy is the old one. `average`: those of averaged weights, if the
    objective uses them. `first`: nothing has been learned yet. `before_backward` is told whether the pass is the last
    one.
    """
    left = sum(map(len, selections))
    for number, (term, selected) in enumerate(zip(terms, selections, strict=True)):
        for selection in selected:
            left -= 1
            before_backward(left == 0)
            velocities = _velocities(
                model,
                objective,
                term,
                selection,
                conditioning,
                reference,
                None if old is None else old[number],
                None if average is None else average[number],
            )
            if not len(selection.images):
                (0 * velocities.current.sum()).backward()  # type: ignore[no-untyped-call]
                continue
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
    average: Tensor | None,
) -> Velocities:
    inputs = _inputs(term, selection, conditioning)
    current = model.velocity(*inputs)
    frozen = None
    if objective.uses_reference and reference is not None:
        with torch.no_grad(), reference() as before_training:
            frozen = before_training.velocity(*inputs)
    rows = selection.states
    return Velocities(
        current,
        current.detach() if old is None else old[rows],
        frozen,
        None if average is None else average[rows],
    )


def _inputs(term: Term, selection: Selection, conditioning: Conditioning) -> tuple[Tensor, Tensor, Conditioning]:
    rows = selection.states
    return term.states[rows], term.sigma[rows], conditioning[term.prompt_of_state[rows]]
