"""Which prompts an iteration draws: new ones in their order, and some again that can still teach.

A group of images teaches as much as their rewards differ. Prompts of which all images are right, or all wrong, teach
nothing, and those in between are known only by trying. So a share of each iteration goes to prompts that were tried
before, drawn by how much the rewards of their latest group differed. The others are new, so that none is forgotten.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .prompts import Prompt, place_of, prompt_at


@dataclass
class Tried:
    """The recorded past, of which every choice is a pure function."""

    fresh: int = 0
    """How many prompts were drawn as new ones."""
    spread: dict[int, float] = field(default_factory=dict)
    """By a prompt's place in the dataset: the std of the rewards of its latest group."""

    def record(self, places: Sequence[int], new: int, spreads: Sequence[float]) -> None:
        """Of an iteration, the first `new` of whose prompts were new ones."""
        self.fresh += new
        self.spread.update(zip(places, spreads, strict=True))

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint, which has no place for empty ones."""
        if not self.spread:
            return {}
        return {
            "fresh": torch.tensor([self.fresh]),
            "place": torch.tensor([*self.spread], dtype=torch.int64),
            "spread": torch.tensor([*self.spread.values()], dtype=torch.float64),
        }

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> "Tried":
        if not tensors:
            return Tried()
        pairs = zip(tensors["place"].tolist(), tensors["spread"].tolist(), strict=True)
        return Tried(int(tensors["fresh"]), dict(pairs))


@dataclass(frozen=True)
class Batch:
    prompts: list[Prompt]
    places: list[int]
    """Of the prompts in the dataset."""
    new: int
    """The first so many are new."""


def choose(prompts: Sequence[Prompt], tried: Tried, iteration: int, size: int, revisited: float, seed: int) -> Batch:
    """`revisited`: the share of the iteration's prompts that are not new, as far as there are any that teach."""
    again = _again(tried.spread, round(revisited * size), f"{seed}/{iteration}/again")
    new = size - len(again)
    places = [place_of(prompts, number, seed) for number in range(tried.fresh, tried.fresh + new)] + again
    return Batch([prompt_at(prompts, place) for place in places], places, new)


def _again(spread: Mapping[int, float], count: int, key: str) -> list[int]:
    """Without replacement, each with a probability proportional to its spread: the largest u^(1 / spread)."""
    draw = random.Random(key)
    keys = {place: draw.random() ** (1 / own) for place, own in sorted(spread.items()) if own > 0}
    return sorted(keys, key=keys.__getitem__, reverse=True)[:count]
