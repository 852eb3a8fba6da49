"""Sheets of samples, small enough for a page."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

_MOST = 12  # sheets
_WIDEST = 1100  # pixels
_LARGEST = 150_000  # bytes of a sheet that is kept as it is
_QUALITY = 82


def chosen(files: Iterable[Path]) -> list[tuple[int, Path]]:
    """With the iterations that they are named for; the first, the last, and some between."""
    named = sorted((int(file.stem), file) for file in files if file.stem.isdecimal())
    if len(named) <= _MOST:
        return named
    return [named[round(i * (len(named) - 1) / (_MOST - 1))] for i in range(_MOST)]


def as_data(file: Path) -> str:
    """A sheet of a few images keeps its pixels; a large one becomes a JPEG."""
    with Image.open(file) as image:
        if image.width <= _WIDEST and file.stat().st_size < _LARGEST:
            return _data("png", file.read_bytes())
        picture = image.convert("RGB")
    picture.thumbnail((_WIDEST, 4 * _WIDEST))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return _data("jpeg", out.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
