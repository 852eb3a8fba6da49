"""Prompts, and whatever a dataset says about them: which ones an iteration trains on."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mixgrpo.scenes.captions import Request, caption
from mixgrpo.scenes.prompts import EVALUATION_SIZES, evaluation_requests, train_requests

Item = TypeVar("Item")


class Prompt(NamedTuple):
    text: str
    metadata: Mapping[str, Any]
    """The other columns of its dataset: what rewards are given as keyword arguments."""


Dataset = Iterable[str | Mapping[str, Any]]
"""Prompts, or rows with a column `prompt`: a list, a `datasets.Dataset`."""


def prompts_of(rows: Dataset) -> list[Prompt]:
    return [_prompt(row) for row in rows]


def train_prompts(source: str, seed: int, count: int) -> list[Prompt]:
    """At least the `count` prompts that a run needs, or all of a file."""
    if source == "scenes":
        return [_scene(request) for request in islice(train_requests(seed, EVALUATION_SIZES), count)]
    return _from_file(source)


def evaluation_prompts(source: str) -> list[Prompt]:
    return [*map(_scene, evaluation_requests())] if source == "scenes" else _from_file(source)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of them, evenly over the list: prompts may be sorted by kind."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def batch(prompts: Sequence[Prompt], iteration: int, size: int, seed: int) -> list[Prompt]:
    """What iteration k trains on: pass after pass over the prompts, each in an order of its own. A pure
    function of k, so that resuming needs no state.
    """
    positions = [divmod(position, len(prompts)) for position in range(iteration * size, (iteration + 1) * size)]
    orders = {epoch: _order(len(prompts), epoch, seed) for epoch, _ in positions}
    return [prompts[orders[epoch][index]] for epoch, index in positions]


def _order(count: int, epoch: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return order


def _scene(request: Request) -> Prompt:
    return Prompt(caption(request), {"kind": request.kind})


def _prompt(row: str | Mapping[str, Any]) -> Prompt:
    if isinstance(row, str):
        return Prompt(row, {})
    if "prompt" not in row:
        raise ValueError(f"a row of a prompt dataset has a column `prompt`; this has only {', '.join(row)}")
    return Prompt(row["prompt"], {key: value for key, value in row.items() if key != "prompt"})


def _from_file(source: str) -> list[Prompt]:
    path = Path(source)
    if path.suffix not in (".txt", ".jsonl") or not path.is_file():
        raise ValueError(f"prompts {source!r}: must be scenes, or a .txt or .jsonl file that exists")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"prompts {source!r}: the file has no prompts")
    return prompts_of(lines if path.suffix == ".txt" else map(json.loads, lines))
