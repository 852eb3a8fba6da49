"""The rewards of the world of scenes: each a verifier of pixels, applied to what the caption asks for."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL.Image import Image

from mixgrpo.rewards.reward import Reward

from .aesthetic import pleasantness
from .captions import Request, parse
from .reading import read, similarity
from .sight import Pixels
from .verifier import graded, strict


def scenes() -> Reward:
    """Partial credit in [0, 1]."""
    return _each(graded)


def scenes_strict() -> Reward:
    """1 only where everything is right."""
    return _each(strict)


def scenes_text() -> Reward:
    """How well the word asked for is written; 1 where none is."""
    return _each(lambda picture, asked: 1.0 if asked.word is None else similarity(read(picture), asked.word))


def scenes_aesthetic() -> Reward:
    """A stated formula, whatever the caption."""

    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        return [pleasantness(np.asarray(image)) for image in images]

    return reward


def _each(judge: Callable[[Pixels, Request], float]) -> Reward:
    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        return [float(judge(np.asarray(image), parse(prompt))) for image, prompt in zip(images, prompts, strict=True)]

    return reward
