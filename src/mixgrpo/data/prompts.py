"""Prompts, the other columns of their dataset, and the batch of an iteration."""

import random
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mixgrpo.section import is_text, readable, shown

from .files import read_rows
from .stream import Stream

Item = TypeVar("Item")


class Prompt(NamedTuple):
    text: str
    metadata: Mapping[str, Any]
    """The other columns of the dataset; rewards get them as keyword arguments."""


Dataset = Iterable[str | Mapping[str, Any]] | str | Path
"""Prompts, or rows with a column `prompt`: a list, a `datasets.Dataset`, or the path of a file of them."""

_LONGEST = 100_000  # characters
_TAKEN = ("images", "prompts")  # arguments of every reward


def prompts_of(dataset: Dataset) -> list[Prompt]:
    if isinstance(dataset, str | Path):
        return [_not_empty(_prompt(row, where), where) for where, row in read_rows(Path(dataset))]
    if isinstance(dataset, Mapping):
        raise ValueError(f"{_names(dataset)}: several datasets where one is needed")  # noqa: TRY004
    return [_prompt(row, f"prompt {number}") for number, row in enumerate(dataset, start=1)]


def evaluation_sets(datasets: Dataset | Mapping[str, Dataset]) -> dict[str, list[Prompt]]:
    """One evaluation set, or several by name."""
    named = datasets if isinstance(datasets, Mapping) else {"evaluation": datasets}
    return {name: prompts_of(dataset) for name, dataset in named.items()}


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items, evenly spaced over the list, since prompts may be sorted by kind."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def batch(prompts: Sequence[Prompt], iteration: int, size: int, seed: int) -> list[Prompt]:
    """The prompts of iteration k: one epoch after the other, each in a random order of its own. Of a stream, one block
    after the other. A pure function of k, so resuming needs no state, and a longer run begins like a shorter one.
    """
    return [prompt_at(prompts, place_of(prompts, n, seed)) for n in range(iteration * size, (iteration + 1) * size)]


def place_of(prompts: Sequence[Prompt], number: int, seed: int) -> int:
    """Where in the dataset the prompt is that comes so many after the first."""
    length = prompts.block if isinstance(prompts, Stream) else len(prompts)
    epoch, index = divmod(number, length)
    place = _order(length, epoch, seed)[index]
    return epoch * length + place if isinstance(prompts, Stream) else place


def prompt_at(prompts: Sequence[Prompt], place: int) -> Prompt:
    return prompts.at(place) if isinstance(prompts, Stream) else prompts[place]


@lru_cache(maxsize=4)
def _order(count: int, epoch: int, seed: int) -> Sequence[int]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def _prompt(row: Any, where: str) -> Prompt:
    if isinstance(row, str):
        return Prompt(_checked(row, where), {})
    if not isinstance(row, Mapping):
        raise ValueError(f"{where}: must be a string or a row with a column `prompt`, not {type(row).__name__}")  # noqa: TRY004
    if "prompt" not in row:
        raise ValueError(f"{where}: a prompt dataset needs a column `prompt`; this row has only {_names(row)}")
    for column in _TAKEN:
        if column in row:
            raise ValueError(f"{where}: a column may not be called {column}: rewards have an argument of that name")
    if not isinstance(row.get("kind", ""), str):
        raise ValueError(f"{where}: kind = {shown(row['kind'])}: must be a string")  # noqa: TRY004
    return Prompt(_checked(row["prompt"], where), {key: value for key, value in row.items() if key != "prompt"})


def _checked(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{where}: prompt = {shown(text)}: must be a string")  # noqa: TRY004
    if len(text) > _LONGEST:
        raise ValueError(f"{where}: a prompt of {len(text):,} characters: must have at most {_LONGEST:,}")
    if not is_text(text):
        raise ValueError(f"{where}: the prompt is not text: it holds a NUL or half a surrogate pair")
    return text


def _not_empty(prompt: Prompt, where: str) -> Prompt:
    """In a file it is a mistake; in Python it may be meant."""
    if not prompt.text.strip():
        raise ValueError(f"{where}: the prompt is empty")
    return prompt


def _names(columns: Iterable[object]) -> str:
    return readable(", ".join(map(str, columns)))
