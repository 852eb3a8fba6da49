"""Images on one sheet, with captions."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_SMALLEST, _LARGEST = 128, 384  # the side of an image on the sheet
_TEXT, _GAP = 46, 14
_BETWEEN = 4  # between the images of a tile
_LETTER = 6  # approximate width of a letter


class Tile(NamedTuple):
    """Images side by side over one caption, each underlined in its colour if colours are given."""

    pictures: Sequence[Image.Image]
    caption: str
    colours: Sequence[tuple[int, int, int]] = ()


def sheet(tiles: Sequence[Tile], columns: int) -> Image.Image:
    side = min(_LARGEST, max(_SMALLEST, tiles[0].pictures[0].width))
    step = side + _BETWEEN
    wide = (len(tiles[0].pictures) - 1) * step + side
    rows = -(-len(tiles) // columns)
    paper = Image.new("RGB", (columns * (wide + _GAP) + _GAP, rows * (side + _TEXT + _GAP) + _GAP), "white")
    canvas, font = ImageDraw.Draw(paper), ImageFont.load_default(size=12)
    for i, tile in enumerate(tiles):
        left, top = _GAP + i % columns * (wide + _GAP), _GAP + i // columns * (side + _TEXT + _GAP)
        for j, picture in enumerate(tile.pictures):
            # Small images are enlarged without smoothing, to show what the model drew.
            filter = Image.Resampling.NEAREST if picture.width <= side else Image.Resampling.LANCZOS
            paper.paste(picture.resize((side, side), filter), (left + j * step, top))
        for j, colour in enumerate(tile.colours):
            x = left + j * step
            canvas.rectangle((x, top + side + 1, x + side - 1, top + side + 3), fill=colour)
        canvas.text((left, top + side + 6), textwrap.fill(tile.caption, wide // _LETTER), fill="black", font=font)
    return paper
