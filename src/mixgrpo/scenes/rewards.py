"""The rewards of the world of scenes: each verifies the pixels against the request in the caption.

The verifiers are imported when a reward is created, because checking a recipe does not need them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Image

from mixgrpo.rewards.reward import Reward

from .captions import Request, parse

if TYPE_CHECKING:
    from .analysis import Pixels


def scenes() -> Reward:
    """What the caption asks for, of the world of scenes: partial credit from 0 to 1."""
    from .verifier import graded

    return _per_image(graded)


def scenes_strict() -> Reward:
    """What the caption asks for, of the world of scenes: 1 if everything is right, otherwise 0."""
    from .verifier import strict

    return _per_image(strict)


def scenes_text() -> Reward:
    """How well the requested word is written; 1 if the caption requests none."""
    from mixgrpo.rewards.functions.edit_distance import similarity

    from .reading import read_word

    return _per_image(
        lambda image, request: 1.0 if request.word is None else similarity(read_word(image), request.word)
    )


def scenes_aesthetic() -> Reward:
    """A fixed formula that ignores the caption."""
    from .aesthetic import aesthetic_score

    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        return [aesthetic_score(np.asarray(image)) for image in images]

    return reward


def _per_image(score: "Callable[[Pixels, Request], float]") -> Reward:
    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        return [float(score(np.asarray(image), parse(prompt))) for image, prompt in zip(images, prompts, strict=True)]

    return reward
