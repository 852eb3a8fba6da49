"""How far a measurement is, and how long the rest will take."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

_LINES = 20  # per loop, where there is no terminal


class Track(Protocol):
    """Iterates over a sequence and shows the progress."""

    def __call__(self, items: Sequence[Item]) -> Iterable[Item]: ...


def with_progress(items: Sequence[Item]) -> Iterable[Item]:
    """On stderr: a bar on a terminal, otherwise a line now and then."""
    console = Console(stderr=True)
    return track(items, description="measuring", console=console) if console.is_terminal else _with_lines(items)


def _with_lines(items: Sequence[Item]) -> Iterable[Item]:
    begin = time.perf_counter()
    for done, item in enumerate(items):
        if done * _LINES // len(items) > (done - 1) * _LINES // len(items) and done:
            left = (time.perf_counter() - begin) / done * (len(items) - done)
            print(f"measured {done} of {len(items)}, {left / 60:.1f} min left", file=sys.stderr, flush=True)
        yield item


def without_progress(items: Sequence[Item]) -> Iterable[Item]:
    return items
