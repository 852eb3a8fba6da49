"""Does an image contain the requested text? The text is read by RapidOCR, which runs on the CPU and ships its models.

Needs the `[ocr]` extra. The requested text is the row's `text`, or the quoted part of the prompt. The score is
Flow-GRPO's, which ignores letter case and spaces: 1 if the text that was read contains the requested text, otherwise
1 - edit distance / length of the requested text, at least 0.
"""

import re
import threading
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL.Image import Image

from mixgrpo.rewards.reward import Reward

from .edit_distance import edit_distance

_QUOTED = re.compile('"([^"]+)"|“([^”]+)”')


def ocr() -> Reward:
    """How well the requested text can be read, from 0 to 1: Flow-GRPO's score, by RapidOCR on the CPU. Needs
    mixgrpo[ocr].
    """
    if find_spec("rapidocr") is None or find_spec("onnxruntime") is None:
        raise ImportError("the OCR reward needs RapidOCR: pip install 'mixgrpo[ocr]'")
    engines = threading.local()  # one per thread, because an engine keeps state while it reads

    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        if "engine" not in vars(engines):
            engines.engine = _engine()
        texts = metadata.get("text", [None] * len(images))
        return [
            text_score(read_text(image, engines.engine), requested_text(prompt, text))
            for image, prompt, text in zip(images, prompts, texts, strict=True)
        ]

    return reward


def text_score(found: str, requested: str) -> float:
    found, requested = (text.replace(" ", "").lower() for text in (found, requested))
    if requested in found:
        return 1.0
    return 1 - min(edit_distance(found, requested), len(requested)) / len(requested)


def requested_text(prompt: str, text: str | float | None = None) -> str:
    """`text`: a row's column, where a file's reader takes 2024 for a number."""
    quoted = _QUOTED.search(prompt)
    requested = ("" if text is None else str(text)) or (quoted and (quoted[1] or quoted[2]))
    if not requested or not requested.strip():
        raise ValueError(f"ocr: prompt {prompt!r} requests no text: put it in quotes, or in a column `text`")
    return requested


def read_text(image: Image, engine: Any) -> str:
    """All lines of text in the image, concatenated."""
    return "".join(engine(np.asarray(image.convert("RGB"))[..., ::-1]).txts or ())


def _engine() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "error"})  # it warns of every image without text
