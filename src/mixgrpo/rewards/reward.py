"""The interface of a reward: any callable `(images, prompts, **metadata)` that returns one score per image.

It is called by keyword. `images` are PIL images. `metadata` has one argument per column of the prompt dataset: a list
with one value per image, None where a row lacks the column. A reward without `**metadata` gets the columns that it has
parameters for. A score of NaN means that the image could not be judged
and may be asked for again; None means that it has no score. The reward may be a coroutine function.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

Reward = Callable[..., Any]
"""What it returns is checked at each call: see `call_reward`."""

PYTHON = "python"
"""Stands in a recipe for a reward that was given as a Python object and cannot be found again by a name."""


class Checkable(ABC):
    """A reward that needs files or servers."""

    @abstractmethod
    def check(self) -> None:
        """Raises an error of one sentence if they are missing. Loads nothing."""


class Interactive(ABC):
    """A reward that asks somebody while images are drawn for training. It has no part in evaluations."""

    @abstractmethod
    def opened(self, folder: Path) -> AbstractContextManager[str]:
        """Ready to ask, and knowing what was answered before in this folder of a run. Yields what to tell the user."""

    @abstractmethod
    def __call__(self, images: list[Any], prompts: list[str], **metadata: Any) -> list[float | None]: ...


def automatic(rewards: Mapping[str, Reward]) -> dict[str, Reward]:
    """Those that ask nobody."""
    return {name: reward for name, reward in rewards.items() if not isinstance(reward, Interactive)}
