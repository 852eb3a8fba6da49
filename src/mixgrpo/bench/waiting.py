"""How far a long loop is, and how long it still takes."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


class Wait(Protocol):
    def __call__(self, items: Sequence[Item]) -> Iterable[Item]: ...


def with_a_bar(items: Sequence[Item]) -> Iterable[Item]:
    return track(items, description="measuring", console=Console(stderr=True))


def silently(items: Sequence[Item]) -> Iterable[Item]:
    return items
