"""Pictures on one sheet, with captions: what a person looks at before believing a number."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_SIDE, _TEXT, _GAP = 128, 46, 14
_BESIDE = _SIDE + 4  # from one picture of a tile to the next
_LETTER = 6  # pixels a letter takes, about


class Tile(NamedTuple):
    """Pictures side by side over one caption; under each a line in its colour, if there are colours."""

    pictures: Sequence[Image.Image]
    caption: str
    colours: Sequence[tuple[int, int, int]] = ()


def sheet(tiles: Sequence[Tile], columns: int) -> Image.Image:
    wide = (len(tiles[0].pictures) - 1) * _BESIDE + _SIDE
    rows = -(-len(tiles) // columns)
    paper = Image.new("RGB", (columns * (wide + _GAP) + _GAP, rows * (_SIDE + _TEXT + _GAP) + _GAP), "white")
    canvas, font = ImageDraw.Draw(paper), ImageFont.load_default(size=12)
    for i, tile in enumerate(tiles):
        left, top = _GAP + i % columns * (wide + _GAP), _GAP + i // columns * (_SIDE + _TEXT + _GAP)
        for j, picture in enumerate(tile.pictures):
            # Small pictures are enlarged as they are: what the model drew, and no smoothing of it.
            smoothing = Image.Resampling.NEAREST if picture.width <= _SIDE else Image.Resampling.LANCZOS
            paper.paste(picture.resize((_SIDE, _SIDE), smoothing), (left + j * _BESIDE, top))
        for j, colour in enumerate(tile.colours):
            x = left + j * _BESIDE
            canvas.rectangle((x, top + _SIDE + 1, x + _SIDE - 1, top + _SIDE + 3), fill=colour)
        canvas.text((left, top + _SIDE + 6), textwrap.fill(tile.caption, wide // _LETTER), fill="black", font=font)
    return paper
