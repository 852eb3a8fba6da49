"""Rewards by name. A reward is any callable `(images, prompts, **metadata) -> list[float]`.

`images` are PIL images. `metadata` holds, for each key that the prompts' dataset has, one value an image.
"""

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from ..tiny.world import parse
from . import scenes, text
from .aesthetic import aesthetic

Reward = Callable[..., list[float]]


def find_rewards(names: Iterable[str]) -> dict[str, Reward]:
    return {name: find_reward(name) for name in names}


def find_reward(name: str) -> Reward:
    """A reward that ships, or `path/to/file.py:function`."""
    if name in REWARDS:
        return REWARDS[name]
    path, colon, function = name.rpartition(":")
    if not colon:
        raise ValueError(f"rewards.{name}: unknown; known are {', '.join(REWARDS)}, and file.py:function")
    return _from_file(Path(path), function)


def _from_file(path: Path, function: str) -> Reward:
    if not path.is_file():
        raise ValueError(f"rewards.{path}:{function}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if function not in vars(module):
        raise ValueError(f"rewards.{path}:{function}: {path} has no function {function}")
    reward: Reward = vars(module)[function]
    return reward


def scenes_reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
    """The world of scenes, graded: partial credit in [0, 1]."""
    return [scenes.graded(np.asarray(image), parse(prompt)) for image, prompt in zip(images, prompts, strict=True)]


def strict_scenes_reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
    """The world of scenes, 1 only where everything is right."""
    return [
        float(scenes.strict(np.asarray(image), parse(prompt))) for image, prompt in zip(images, prompts, strict=True)
    ]


def writing_reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
    """How well the word a prompt asks for is written; 1 where it asks for none."""
    wanted = [parse(prompt).word for prompt in prompts]
    return [
        1.0 if word is None else text.similarity(text.read(np.asarray(image)), word)
        for image, word in zip(images, wanted, strict=True)
    ]


def aesthetic_reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
    """Contrast, margins, balance: a stated formula."""
    return [aesthetic(np.asarray(image)) for image in images]


REWARDS: dict[str, Reward] = {
    "scenes": scenes_reward,
    "scenes-strict": strict_scenes_reward,
    "writing": writing_reward,
    "aesthetic": aesthetic_reward,
}
