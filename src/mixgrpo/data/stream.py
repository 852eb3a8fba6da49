"""The first items of an endless source."""

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Item = TypeVar("Item")


class Stream(Sequence[Item]):
    """Drawn when they are needed. A longer stream begins with the items of a shorter one."""

    block = 3240
    """Items that are shuffled among themselves: as many as the recipe `scenes` trains on."""

    def __init__(self, first: Callable[[int], list[Item]], count: int) -> None:
        """`first(n)`: the first n items of the source."""
        self._first, self._count = first, count
        self._drawn: list[Item] = []

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        places = range(self._count)[index]
        return self.at(places) if isinstance(places, int) else [self.at(place) for place in places]

    def at(self, place: int) -> Item:
        """The source goes on after the `count` items that a run needs."""
        if place >= len(self._drawn):
            self._drawn = self._first(max(place + 1, self.block, 2 * len(self._drawn)))
        return self._drawn[place]
