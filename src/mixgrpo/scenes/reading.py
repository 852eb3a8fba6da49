"""What is written in a picture? A glyph matcher for the world's one line of capitals; no general OCR.

The ink of the line is the picture's contrast with its background. Letters stand at a fixed pitch, so the
line is read slot by slot: at each, the glyph that correlates best, over small shifts. The score against what
was asked for is the normalised edit distance.
"""

import string
from functools import cache

import numpy as np

from .render import LETTER_PITCH, Scene, draw, letter_centres
from .sight import Floats, Pixels, ground_of, once_per_picture

_TOP, _BOTTOM = 22, 42  # the rows a line of letters covers
_HALF = 6  # half a slot: a letter is judged by what of it lies inside its own
_SHIFTS = range(-2, 3)
_MARGIN = _HALF + max(_SHIFTS)
_REACH = 4.5  # how far a letter reaches to the right of its centre: 1 to 8 pixels
_MOST_LETTERS = 5
_INK = 50.0  # the least contrast (of 442) that can be writing
_STROKE = 12  # the pixels of the thinnest stroke
_MATCH = 0.72  # the least correlation with a glyph that counts as one


@once_per_picture
def read(picture: Pixels) -> str:
    """The word in [64, 64, 3]; empty where there is none. `?` is a mark that is no letter."""
    ink = _ink(picture)
    if ink is None:
        return ""
    # The first slot is always in the same place, so where the ink ends says how many letters there are.
    right = float(np.flatnonzero((ink > 0.4).any(0))[-1]) - _MARGIN
    last = round((right - _REACH - letter_centres(1)[0]) / LETTER_PITCH)
    return _read_slots(ink, letter_centres(min(max(last, 0) + 1, _MOST_LETTERS)))


def similarity(written: str, asked: str) -> float:
    """1 - edit distance / the longer length."""
    return 1 - edit_distance(written, asked) / max(len(written), len(asked), 1)


def _ink(picture: Pixels) -> Floats | None:
    """Contrast with the background, 0 to 1 and as wide as the slots at the edge need; None without any."""
    pixels = picture.astype(np.float32)
    contrast = np.linalg.norm(pixels - ground_of(pixels), axis=2)
    strongest = float(np.partition(contrast, -_STROKE, axis=None)[-_STROKE])
    if strongest < _INK:
        return None
    return np.pad(np.clip(contrast / strongest, 0, 1), ((0, 0), (_MARGIN, _MARGIN)))


def _read_slots(ink: Floats, centres: list[float]) -> str:
    """The best letter in each slot, over small shifts."""
    glyphs, norms = _glyphs()
    letters = ""
    for centre in centres:
        windows = np.stack([_window(ink, round(centre) + dx, dy).ravel() for dx in _SHIFTS for dy in _SHIFTS])
        energies = np.maximum(np.square(windows).sum(1), 1e-6)
        correlation = windows @ glyphs.T / np.sqrt(energies[:, None] * norms)
        _, letter = np.unravel_index(correlation.argmax(), correlation.shape)
        letters += string.ascii_uppercase[letter] if correlation.max() >= _MATCH else "?"
    return letters


def _window(ink: Floats, centre: int, dy: int) -> Floats:
    left = centre + max(_SHIFTS)
    return ink[_TOP + dy : _BOTTOM + dy, left : left + 2 * _HALF]


@cache
def _glyphs() -> tuple[Floats, Floats]:
    """Each letter alone in its slot as the renderer draws it, flattened, with their squared norms."""
    rows = []
    for letter in string.ascii_uppercase:
        ink = _ink(draw(Scene("black", word=letter, colour="yellow")))
        assert ink is not None
        rows.append(_window(ink, round(letter_centres(1)[0]), 0).ravel())
    glyphs = np.stack(rows)
    return glyphs, np.square(glyphs).sum(1)


def edit_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]
