"""An endless stream of training examples: a caption, its image, and labels for the content of each patch."""

import math
import random
import string
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mixgrpo.scenes.captions import COLOURS, SHAPES, caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.render import LETTER_PITCH, SIZE, Scene, compose, draw, letter_centres

PATCH = 8
EMPTY = 0
"""The label of a patch that shows only background."""
COLOUR_NAMES = [*COLOURS]
SYMBOL_NAMES = [*SHAPES, *string.ascii_uppercase]


class Example(NamedTuple):
    caption: str
    image: Tensor
    """[3, 64, 64] in [-1, 1]"""
    patch_labels: Tensor
    """[patches, 2]: the colour and the symbol (shape or letter) in each patch, counted from 1, or `EMPTY`."""


def examples(seed: int) -> Iterator[Example]:
    rng = random.Random(seed)
    for request in train_requests(seed):
        scene = compose(request, rng)
        image = torch.from_numpy(draw(scene).copy()).permute(2, 0, 1).float() / 127.5 - 1
        yield Example(caption(request), image, patch_labels(scene))


def patch_labels(scene: Scene) -> Tensor:
    """The labels at the centre of each patch, row by row."""
    centres = [(i + 0.5) * PATCH for i in range(SIZE // PATCH)]
    return torch.tensor([_labels_at(scene, x, y) for y in centres for x in centres])


def _labels_at(scene: Scene, x: float, y: float) -> tuple[int, int]:
    for shape in scene.shapes:
        if math.dist((x, y), (shape.x, shape.y)) < shape.radius + 2:
            return 1 + COLOUR_NAMES.index(shape.colour), 1 + SYMBOL_NAMES.index(shape.name)
    if scene.word is not None and abs(y - SIZE / 2) < 2 * PATCH:
        for letter, centre in zip(scene.word, letter_centres(len(scene.word)), strict=True):
            if abs(x - centre) <= LETTER_PITCH / 2:
                return 1 + COLOUR_NAMES.index(scene.word_colour), 1 + SYMBOL_NAMES.index(letter)
    return EMPTY, EMPTY
