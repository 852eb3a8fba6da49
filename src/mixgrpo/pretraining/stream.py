"""Training examples without end: a caption, its picture, and what each patch of the picture shows."""

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
NOTHING = 0
COLOUR_NAMES = [*COLOURS]
FORM_NAMES = [*SHAPES, *string.ascii_uppercase]


class Example(NamedTuple):
    caption: str
    picture: Tensor
    """[3, 64, 64] in [-1, 1]"""
    shown: Tensor
    """[patches, 2]: the colour and the form (shape or letter) on each patch, counted from 1; `NOTHING` = 0."""


def examples(seed: int) -> Iterator[Example]:
    rng = random.Random(seed)
    for request in train_requests(seed):
        scene = compose(request, rng)
        picture = torch.from_numpy(draw(scene).copy()).permute(2, 0, 1).float() / 127.5 - 1
        yield Example(caption(request), picture, shown(scene))


def shown(scene: Scene) -> Tensor:
    """What lies over the middle of each patch, row by row."""
    centres = [(i + 0.5) * PATCH for i in range(SIZE // PATCH)]
    return torch.tensor([_at(scene, x, y) for y in centres for x in centres])


def _at(scene: Scene, x: float, y: float) -> tuple[int, int]:
    for thing in scene.things:
        if math.dist((x, y), (thing.x, thing.y)) < thing.radius + 2:
            return 1 + COLOUR_NAMES.index(thing.colour), 1 + FORM_NAMES.index(thing.shape)
    if scene.word is not None and abs(y - SIZE / 2) < 2 * PATCH:
        for letter, centre in zip(scene.word, letter_centres(len(scene.word)), strict=True):
            if abs(x - centre) <= LETTER_PITCH / 2:
                return 1 + COLOUR_NAMES.index(scene.colour), 1 + FORM_NAMES.index(letter)
    return NOTHING, NOTHING
