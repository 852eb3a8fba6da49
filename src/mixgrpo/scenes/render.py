"""Draw a scene: 64 x 64 pixels, shapes that do not touch, or a word."""

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .captions import BACKGROUNDS, COLOURS, NEVER_TOGETHER, Request, along_and_across

SIZE = 64
_FINE = 4  # drawn four times larger and averaged down: smooth edges
_PLACES = range(16, 49, 8)  # where a thing's centre may be, in either direction: the corners of the model's patches
_GAP = 3
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """A shape of a colour, `radius` around its centre, in pixels."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    background: str
    things: tuple[Placed, ...] = ()
    word: str | None = None
    colour: str = "red"
    """Of the word."""


def compose(request: Request, rng: random.Random) -> Scene:
    """A random scene that shows the request."""
    background = request.background or rng.choice([*BACKGROUNDS])
    if request.kind == "text":
        return Scene(background, word=request.word, colour=rng.choice([*COLOURS]))
    while True:
        things: list[Placed] = []
        for thing in request.things:
            alike = request.kind == "counting" and things
            colour = things[0].colour if alike else thing.colour or _free_colour(thing.shape, rng)
            radius = 9.0 if len(request.things) > 2 else rng.choice([9.0, 12.0])
            things.append(Placed(thing.shape, colour, rng.choice(_PLACES), rng.choice(_PLACES), radius))
        if _apart(things) and (request.relation is None or holds(request.relation, things[0], things[1])):
            return Scene(background, tuple(things))


def _free_colour(shape: str, rng: random.Random) -> str:
    return rng.choice([colour for colour in COLOURS if (colour, shape) not in NEVER_TOGETHER])


def _apart(things: list[Placed]) -> bool:
    return all(
        math.dist((a.x, a.y), (b.x, b.y)) > a.radius + b.radius + _GAP for i, a in enumerate(things) for b in things[:i]
    )


def holds(relation: str, first: Placed, second: Placed) -> bool:
    """Clearly so: the offset along the relation's axis dominates."""
    dx, dy = second.x - first.x, second.y - first.y
    along, across = along_and_across(relation, dx, dy)
    return along > 10 and along > 1.5 * abs(across)


def draw(scene: Scene) -> Pixels:
    """[64, 64, 3]"""
    image = Image.new("RGB", (SIZE * _FINE, SIZE * _FINE), BACKGROUNDS[scene.background])
    canvas = ImageDraw.Draw(image)
    for thing in scene.things:
        _draw_shape(canvas, thing, BACKGROUNDS[scene.background])
    if scene.word is not None:
        for letter, x in zip(scene.word, letter_centres(len(scene.word)), strict=True):
            canvas.text((x * _FINE, SIZE / 2 * _FINE), letter, COLOURS[scene.colour], _FONT, "mm", stroke_width=2)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX))


_FONT = ImageFont.load_default(size=15 * _FINE)
LETTER_PITCH = 12


def letter_centres(count: int) -> list[float]:
    """Letters stand in a row of equal pitch, from the left: the first is in the same place in every word."""
    return [8.0 + LETTER_PITCH * i for i in range(count)]


def _draw_shape(canvas: ImageDraw.ImageDraw, thing: Placed, background: tuple[int, int, int]) -> None:
    colour, x, y, r = COLOURS[thing.colour], thing.x * _FINE, thing.y * _FINE, thing.radius * _FINE

    def disc(radius: float, fill: tuple[int, int, int]) -> None:
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def polygon(corners: list[tuple[float, float]]) -> None:
        """Corners as (turns clockwise from the top, share of the radius)."""
        canvas.polygon(
            [(x + r * s * math.sin(2 * math.pi * t), y - r * s * math.cos(2 * math.pi * t)) for t, s in corners],
            colour,
        )

    match thing.shape:
        case "circle":
            disc(0.9 * r, colour)
        case "ring":
            disc(r, colour)
            disc(0.5 * r, background)
        case "square":
            side = 0.8 * r
            canvas.rectangle((x - side, y - side, x + side, y + side), colour)
        case "triangle":
            polygon([(0, 1.0), (1 / 3, 1.0), (2 / 3, 1.0)])
        case "star":
            polygon([(i / 10, 0.42 if i % 2 else 1.0) for i in range(10)])
        case "cross":
            arm, half = 0.9 * r, 0.32 * r
            canvas.rectangle((x - arm, y - half, x + arm, y + half), colour)
            canvas.rectangle((x - half, y - arm, x + half, y + arm), colour)
