"""What there is to see in a picture of the world of scenes: from pixels to things, and nothing else.

The background is the colour around the edge. What differs from it falls into connected regions; each has a
colour (the palette's nearest) and a shape (the template that overlaps its mask best).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .captions import BACKGROUNDS, COLOURS, SHAPES
from .render import Placed, Scene, draw

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Verdict = TypeVar("Verdict")

_GRID = 14  # a mask is compared at this size
_CONTRAST = 60.0  # a pixel this far from the background (of 442) belongs to something
_SMALLEST = 25  # pixels of area; what is smaller is no thing
_LARGEST = 36  # pixels across; what is larger is none of the shapes
_COLOUR_TOLERANCE = 75.0
_FIT = 0.78  # the least overlap with a template that counts as the shape


@dataclass(frozen=True)
class Seen:
    """A region of the picture. `shape` or `colour` None: none of the world's."""

    shape: str | None
    colour: str | None
    left: int
    top: int
    right: int
    bottom: int

    @property
    def x(self) -> float:
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        return (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Sight:
    background: str | None
    things: tuple[Seen, ...]
    clutter: int


def once_per_picture(judge: Callable[[Pixels], Verdict]) -> Callable[[Pixels], Verdict]:
    """Several rewards ask the same of the pictures of a batch; the answer is worked out for the first of them."""

    @lru_cache(maxsize=1024)
    def of_bytes(data: bytes, shape: tuple[int, ...]) -> Verdict:
        return judge(np.frombuffer(data, np.uint8).reshape(shape))

    def remembered(picture: Pixels) -> Verdict:
        return of_bytes(picture.tobytes(), picture.shape)

    return remembered


@once_per_picture
def look(picture: Pixels) -> Sight:
    """What there is to see in [64, 64, 3]."""
    pixels = picture.astype(np.float32)
    ground = ground_of(pixels)
    distance = np.linalg.norm(pixels - ground, axis=2)
    labels, _ = ndimage.label(distance > _CONTRAST, structure=np.ones((3, 3)))
    things, clutter = [], 0
    for label, where in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[where] == label
        if (size := int(mask.sum())) < _SMALLEST:
            clutter += size
        else:
            things.append(_recognise(pixels[where], distance[where], mask, where))
    return Sight(_nearest(ground, BACKGROUNDS), tuple(things), clutter)


def background(picture: Pixels) -> str | None:
    """What there is behind everything, without a look at anything else: a line of letters is many things."""
    return _nearest(ground_of(picture.astype(np.float32)), BACKGROUNDS)


def ground_of(pixels: Floats) -> Floats:
    """The colour around the edge."""
    edge: Floats = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    return edge


def _recognise(pixels: Floats, distance: Floats, mask: NDArray[np.bool_], where: tuple[slice, slice]) -> Seen:
    # The clearest pixels are the thing's own colour; towards its edge it fades into the background.
    strongest = np.percentile(distance[mask], 75)
    own = np.median(pixels[mask & (distance >= 0.97 * strongest)], axis=0)
    coverage = np.clip(distance / strongest, 0, 1) * ndimage.binary_dilation(mask)
    fits = _overlap(_canonical(coverage), _templates()).max(1)
    best = int(fits.argmax())
    height, width = mask.shape
    proportioned = max(height, width) <= min(_LARGEST, 1.35 * min(height, width))
    return Seen(
        shape=SHAPES[best] if fits[best] >= _FIT and proportioned else None,
        colour=_nearest(own, COLOURS),
        left=where[1].start,
        top=where[0].start,
        right=where[1].stop,
        bottom=where[0].stop,
    )


def _nearest(colour: Floats, palette: dict[str, tuple[int, int, int]]) -> str | None:
    distances = np.linalg.norm(colour - np.array([*palette.values()]), axis=1)
    nearest = int(distances.argmin())
    return [*palette][nearest] if distances[nearest] < _COLOUR_TOLERANCE else None


def _canonical(coverage: Floats) -> Floats:
    """A mask stretched to one size."""
    height, width = coverage.shape
    rows, columns = ((np.arange(_GRID) + 0.5) * n / _GRID - 0.5 for n in (height, width))
    grid = np.meshgrid(rows, columns, indexing="ij")
    resampled: Floats = ndimage.map_coordinates(coverage, grid, order=1, mode="nearest")
    return resampled


def _overlap(mask: Floats, templates: Floats) -> Floats:
    """Intersection over union of soft masks, with each template of each shape."""
    overlap: Floats = np.minimum(mask, templates).sum((-2, -1)) / np.maximum(mask, templates).sum((-2, -1))
    return overlap


@cache
def _templates() -> Floats:
    """[shapes, variants, grid, grid]: each shape as the renderer draws it, small and large, on and between pixels."""
    templates = []
    for shape in SHAPES:
        masks = []
        for radius, offset in itertools.product((8.0, 9.5, 11.0, 13.0), (0.0, 0.5)):
            picture = draw(Scene("black", (Placed(shape, "yellow", 32 + offset, 32 + offset, radius),))).astype(
                np.float32
            )
            distance = np.linalg.norm(picture - picture[0, 0], axis=2)
            where = ndimage.find_objects((distance > _CONTRAST).astype(int))[0]
            masks.append(_canonical(np.clip(distance[where] / distance.max(), 0, 1)))
        templates.append(np.stack(masks))
    return np.stack(templates)
