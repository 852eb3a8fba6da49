"""Render scenes: images of 64 x 64 pixels with shapes that do not touch, or with a word."""

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .captions import BACKGROUNDS, COLOURS, UNSEEN_PAIRS, Request, along_and_across

SIZE = 64
_SUPERSAMPLING = 4  # drawn this many times larger and averaged down, for smooth edges
_POSITIONS = range(16, 49, 8)  # x and y of a shape's centre: the corners of the model's patches
_GAP = 3
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class PlacedShape:
    """A shape in a scene: its centre and its radius in pixels."""

    name: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    background: str
    shapes: tuple[PlacedShape, ...] = ()
    word: str | None = None
    word_colour: str = "red"


def compose(request: Request, rng: random.Random) -> Scene:
    """A random scene that satisfies the request."""
    background = request.background or rng.choice([*BACKGROUNDS])
    if request.kind == "text":
        return Scene(background, word=request.word, word_colour=rng.choice([*COLOURS]))
    while True:
        shapes: list[PlacedShape] = []
        for shape in request.shapes:
            same_colour = request.kind == "counting" and shapes
            colour = shapes[0].colour if same_colour else shape.colour or _random_colour(shape.name, rng)
            radius = 9.0 if len(request.shapes) > 2 else rng.choice([9.0, 12.0])
            shapes.append(PlacedShape(shape.name, colour, rng.choice(_POSITIONS), rng.choice(_POSITIONS), radius))
        if _are_apart(shapes) and (request.relation is None or relation_holds(request.relation, shapes[0], shapes[1])):
            return Scene(background, tuple(shapes))


def _random_colour(shape: str, rng: random.Random) -> str:
    return rng.choice([colour for colour in COLOURS if (colour, shape) not in UNSEEN_PAIRS])


def _are_apart(shapes: list[PlacedShape]) -> bool:
    return all(
        math.dist((a.x, a.y), (b.x, b.y)) > a.radius + b.radius + _GAP for i, a in enumerate(shapes) for b in shapes[:i]
    )


def relation_holds(relation: str, first: PlacedShape, second: PlacedShape) -> bool:
    """Holds only if it is unmistakable: the offset along the relation's axis dominates."""
    dx, dy = second.x - first.x, second.y - first.y
    along, across = along_and_across(relation, dx, dy)
    return along > 10 and along > 1.5 * abs(across)


def draw(scene: Scene) -> Pixels:
    """The image of a scene, [64, 64, 3]."""
    image = Image.new("RGB", (SIZE * _SUPERSAMPLING, SIZE * _SUPERSAMPLING), BACKGROUNDS[scene.background])
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        _draw_shape(canvas, shape, BACKGROUNDS[scene.background])
    if scene.word is not None:
        for letter, x in zip(scene.word, letter_centres(len(scene.word)), strict=True):
            position = (x * _SUPERSAMPLING, SIZE / 2 * _SUPERSAMPLING)
            canvas.text(position, letter, COLOURS[scene.word_colour], _FONT, "mm", stroke_width=2)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX))


_FONT = ImageFont.load_default(size=15 * _SUPERSAMPLING)
LETTER_PITCH = 12


def letter_centres(count: int) -> list[float]:
    """The x of each letter: equally spaced from the left, so the first letter of every word has the same position."""
    return [8.0 + LETTER_PITCH * i for i in range(count)]


def _draw_shape(canvas: ImageDraw.ImageDraw, shape: PlacedShape, background: tuple[int, int, int]) -> None:
    colour = COLOURS[shape.colour]
    x, y, r = shape.x * _SUPERSAMPLING, shape.y * _SUPERSAMPLING, shape.radius * _SUPERSAMPLING

    def disc(radius: float, fill: tuple[int, int, int]) -> None:
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def polygon(corners: list[tuple[float, float]]) -> None:
        """Corners are (turns clockwise from the top, fraction of the radius)."""
        canvas.polygon(
            [(x + r * s * math.sin(2 * math.pi * t), y - r * s * math.cos(2 * math.pi * t)) for t, s in corners],
            colour,
        )

    match shape.name:
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
