"""Analyse an image of the world of scenes: from pixels to detected shapes.

The background is the colour around the edge. Pixels that differ from it form connected regions. Each region has a
colour (the nearest in the palette) and a shape (the template that overlaps its mask best).
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
from .render import PlacedShape, Scene, draw

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Result = TypeVar("Result")

_GRID = 14  # masks are resampled to this size before they are compared
_MIN_CONTRAST = 60.0  # a pixel at least this far from the background colour (of 442) is foreground
_MIN_AREA = 25  # pixels; smaller regions are clutter
_MAX_SIDE = 36  # pixels; a larger region is none of the shapes
_COLOUR_TOLERANCE = 75.0
_MIN_OVERLAP = 0.78  # with a shape's template


@dataclass(frozen=True)
class DetectedShape:
    """A region of the image."""

    name: str | None
    """None: not one of SHAPES."""
    colour: str | None
    """None: not one of COLOURS."""
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
class ImageContent:
    background: str | None
    shapes: tuple[DetectedShape, ...]
    clutter: int
    """Pixels in regions too small to be a shape."""


def cached_per_image(function: Callable[[Pixels], Result]) -> Callable[[Pixels], Result]:
    """Several rewards analyse the same batch of images: the first computes the result, the others find it cached."""

    @lru_cache(maxsize=1024)
    def of_bytes(data: bytes, shape: tuple[int, ...]) -> Result:
        return function(np.frombuffer(data, np.uint8).reshape(shape))

    def cached(image: Pixels) -> Result:
        return of_bytes(image.tobytes(), image.shape)

    return cached


@cached_per_image
def analyse(image: Pixels) -> ImageContent:
    """The content of an image [64, 64, 3]."""
    pixels = image.astype(np.float32)
    edge = edge_colour(pixels)
    distance = np.linalg.norm(pixels - edge, axis=2)
    labels, _ = ndimage.label(distance > _MIN_CONTRAST, structure=np.ones((3, 3)))
    shapes, clutter = [], 0
    for label, where in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[where] == label
        if (area := int(mask.sum())) < _MIN_AREA:
            clutter += area
        else:
            shapes.append(_classify(pixels[where], distance[where], mask, where))
    return ImageContent(_nearest(edge, BACKGROUNDS), tuple(shapes), clutter)


def background(image: Pixels) -> str | None:
    """The background alone, without shape detection, which would find many regions in a line of letters."""
    return _nearest(edge_colour(image.astype(np.float32)), BACKGROUNDS)


def edge_colour(pixels: Floats) -> Floats:
    """The median colour along the edge of the image."""
    edge: Floats = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    return edge


def _classify(pixels: Floats, distance: Floats, mask: NDArray[np.bool_], where: tuple[slice, slice]) -> DetectedShape:
    # The shape's colour is that of its highest-contrast pixels; towards its edge it fades into the background.
    contrast = np.percentile(distance[mask], 75)
    colour = np.median(pixels[mask & (distance >= 0.97 * contrast)], axis=0)
    coverage = np.clip(distance / contrast, 0, 1) * ndimage.binary_dilation(mask)
    overlaps = _overlap(_resample(coverage), _templates()).max(1)
    best = int(overlaps.argmax())
    height, width = mask.shape
    plausible_size = max(height, width) <= min(_MAX_SIDE, 1.35 * min(height, width))
    return DetectedShape(
        name=SHAPES[best] if overlaps[best] >= _MIN_OVERLAP and plausible_size else None,
        colour=_nearest(colour, COLOURS),
        left=where[1].start,
        top=where[0].start,
        right=where[1].stop,
        bottom=where[0].stop,
    )


def _nearest(colour: Floats, palette: dict[str, tuple[int, int, int]]) -> str | None:
    distances = np.linalg.norm(colour - np.array([*palette.values()]), axis=1)
    nearest = int(distances.argmin())
    return [*palette][nearest] if distances[nearest] < _COLOUR_TOLERANCE else None


def _resample(coverage: Floats) -> Floats:
    """A soft mask, stretched to the common size."""
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
    """[shapes, variants, grid, grid]: masks of each rendered shape in several sizes, centred on and between pixels."""
    templates = []
    for shape in SHAPES:
        masks = []
        for radius, offset in itertools.product((8.0, 9.5, 11.0, 13.0), (0.0, 0.5)):
            scene = Scene("black", (PlacedShape(shape, "yellow", 32 + offset, 32 + offset, radius),))
            image = draw(scene).astype(np.float32)
            distance = np.linalg.norm(image - image[0, 0], axis=2)
            where = ndimage.find_objects((distance > _MIN_CONTRAST).astype(int))[0]
            masks.append(_resample(np.clip(distance[where] / distance.max(), 0, 1)))
        templates.append(np.stack(masks))
    return np.stack(templates)
