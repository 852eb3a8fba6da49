"""Read the word in an image. A glyph matcher for the single line of capitals in the world of scenes, not a general OCR.

The ink is the contrast of the line with its background. Letters have a fixed pitch, so the line is read slot by slot:
each slot takes the glyph with the highest correlation over small shifts. A word is scored against the requested one by
the normalised edit distance.
"""

import string
from functools import cache

import numpy as np

from .analysis import Floats, Pixels, cached_per_image, edge_colour
from .render import LETTER_PITCH, Scene, draw, letter_centres

_TOP, _BOTTOM = 22, 42  # the rows that a line of letters covers
_HALF_SLOT = 6  # only what lies inside its slot counts towards a letter
_SHIFTS = range(-2, 3)
_MARGIN = _HALF_SLOT + max(_SHIFTS)
_REACH = 4.5  # typical distance from a letter's centre to its right end; it varies from 1 to 8 pixels
_MAX_LETTERS = 5
_MIN_CONTRAST = 50.0  # of 442, for ink
_STROKE_PIXELS = 12  # in the thinnest stroke
_MIN_CORRELATION = 0.72  # with a glyph


@cached_per_image
def read_word(image: Pixels) -> str:
    """The word in an image [64, 64, 3]; empty if there is none. `?` stands for a mark that is not a letter."""
    ink = _ink(image)
    if ink is None:
        return ""
    # The first slot has a fixed position, so the right end of the ink gives the number of letters.
    right = float(np.flatnonzero((ink > 0.4).any(0))[-1]) - _MARGIN
    last = round((right - _REACH - letter_centres(1)[0]) / LETTER_PITCH)
    return _read_slots(ink, letter_centres(min(max(last, 0) + 1, _MAX_LETTERS)))


def _ink(image: Pixels) -> Floats | None:
    """Contrast with the background in [0, 1], padded for the slots at the edge. None if there is no ink."""
    pixels = image.astype(np.float32)
    contrast = np.linalg.norm(pixels - edge_colour(pixels), axis=2)
    strongest = float(np.partition(contrast, -_STROKE_PIXELS, axis=None)[-_STROKE_PIXELS])
    if strongest < _MIN_CONTRAST:
        return None
    return np.pad(np.clip(contrast / strongest, 0, 1), ((0, 0), (_MARGIN, _MARGIN)))


def _read_slots(ink: Floats, centres: list[float]) -> str:
    """The best-matching letter in each slot, over small shifts."""
    glyphs, norms = _glyphs()
    letters = ""
    for centre in centres:
        windows = np.stack([_window(ink, round(centre) + dx, dy).ravel() for dx in _SHIFTS for dy in _SHIFTS])
        energies = np.maximum(np.square(windows).sum(1), 1e-6)
        correlation = windows @ glyphs.T / np.sqrt(energies[:, None] * norms)
        _, letter = np.unravel_index(correlation.argmax(), correlation.shape)
        letters += string.ascii_uppercase[letter] if correlation.max() >= _MIN_CORRELATION else "?"
    return letters


def _window(ink: Floats, centre: int, dy: int) -> Floats:
    left = centre + max(_SHIFTS)
    return ink[_TOP + dy : _BOTTOM + dy, left : left + 2 * _HALF_SLOT]


@cache
def _glyphs() -> tuple[Floats, Floats]:
    """Each rendered letter in its slot, flattened, and the squared norms."""
    rows = []
    for letter in string.ascii_uppercase:
        ink = _ink(draw(Scene("black", word=letter, word_colour="yellow")))
        assert ink is not None
        rows.append(_window(ink, round(letter_centres(1)[0]), 0).ravel())
    glyphs = np.stack(rows)
    return glyphs, np.square(glyphs).sum(1)
