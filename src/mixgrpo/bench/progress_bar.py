"""How far a long loop is, and how long it still takes."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

_LINES = 20  # of a whole loop, where no bar can be drawn


class Wait(Protocol):
    def __call__(self, items: Sequence[Item]) -> Iterable[Item]: ...


def with_a_bar(items: Sequence[Item]) -> Iterable[Item]:
    """Where errors go: a bar on a terminal, now and then a line in a file."""
    console = Console(stderr=True)
    return track(items, description="measuring", console=console) if console.is_terminal else _with_lines(items)


def _with_lines(items: Sequence[Item]) -> Iterable[Item]:
    begin = time.perf_counter()
    for done, item in enumerate(items):
        if done * _LINES // len(items) > (done - 1) * _LINES // len(items) and done:
            left = (time.perf_counter() - begin) / done * (len(items) - done)
            print(f"measured {done} of {len(items)}, {left / 60:.1f} min left", file=sys.stderr, flush=True)
        yield item


def silently(items: Sequence[Item]) -> Iterable[Item]:
    return items
