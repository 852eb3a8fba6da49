"""What is written in a picture, to a real OCR engine: RapidOCR, which runs on the CPU and carries its models.

Needs the `[ocr]` extra. In the world of scenes it reads as well as the glyph matcher in `text.py`, at some
hundred times the cost (tens of milliseconds a picture), so there it is the second opinion.
"""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from .sight import Pixels

_LINE = (18, 46)  # the rows around the world's one line
_SCALE = 4  # recognition models want letters some 40 pixels high


def read(picture: Pixels) -> str:
    """The line in [64, 64, 3], in capitals, without spaces; empty where nothing can be read."""
    line = Image.fromarray(picture[_LINE[0] : _LINE[1]])
    large = line.resize((line.width * _SCALE, line.height * _SCALE), Image.Resampling.BICUBIC)
    bgr = np.asarray(large)[..., ::-1]
    found, _ = _engine()(bgr, use_det=False, use_cls=False, use_rec=True)
    return "".join(text for text, _ in found or []).replace(" ", "").upper()


@cache
def _engine() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise ImportError("the OCR reward needs RapidOCR: pip install 'mixgrpo[ocr]'") from error
    return RapidOCR()
