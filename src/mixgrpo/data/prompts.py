"""Prompts, the other columns of their dataset, and the batch of an iteration."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")


class Prompt(NamedTuple):
    text: str
    metadata: Mapping[str, Any]
    """The other columns of the dataset; rewards get them as keyword arguments."""


Dataset = Iterable[str | Mapping[str, Any]]
"""Prompts, or rows with a column `prompt`: a list, a `datasets.Dataset`."""


def prompts_of(rows: Dataset) -> list[Prompt]:
    return [_prompt(row) for row in rows]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items, evenly spaced over the list, since prompts may be sorted by kind."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def batch(prompts: Sequence[Prompt], iteration: int, size: int, seed: int) -> list[Prompt]:
    """The prompts of iteration k: one epoch after the other, each in a random order of its own. A pure function of k,
    so resuming needs no state.
    """
    positions = [divmod(position, len(prompts)) for position in range(iteration * size, (iteration + 1) * size)]
    orders = {epoch: _order(len(prompts), epoch, seed) for epoch, _ in positions}
    return [prompts[orders[epoch][index]] for epoch, index in positions]


def _order(count: int, epoch: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def _prompt(row: str | Mapping[str, Any]) -> Prompt:
    if isinstance(row, str):
        return Prompt(row, {})
    if "prompt" not in row:
        raise ValueError(f"a prompt dataset needs a column `prompt`; this row has only {', '.join(row)}")
    return Prompt(row["prompt"], {key: value for key, value in row.items() if key != "prompt"})
