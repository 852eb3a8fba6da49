"""Does a picture say what it should? Any picture, read by RapidOCR, which runs on the CPU and carries its models.

Needs the `[ocr]` extra. What should be written is the row's `text`, or what the prompt has in quotes. Flow-GRPO's
score, letter case and spaces aside: 1 where it is among what was read, else 1 - edit distance / its length, at least 0.
"""

import re
import threading
from typing import Any

import numpy as np
from PIL.Image import Image

from mixgrpo.rewards.reward import Reward
from mixgrpo.scenes.reading import edit_distance

_QUOTED = re.compile('"([^"]+)"|“([^”]+)”')


def ocr() -> Reward:
    engines = threading.local()  # one a thread: an engine keeps state while it reads

    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        if "engine" not in vars(engines):
            engines.engine = _engine()
        texts = metadata.get("text", [None] * len(images))
        return [
            match(read(image, engines.engine), asked_for(prompt, text))
            for image, prompt, text in zip(images, prompts, texts, strict=True)
        ]

    return reward


def match(written: str, asked: str) -> float:
    written, asked = (text.replace(" ", "").lower() for text in (written, asked))
    if asked in written:
        return 1.0
    return 1 - min(edit_distance(written, asked), len(asked)) / len(asked)


def asked_for(prompt: str, text: str | None = None) -> str:
    found = _QUOTED.search(prompt)
    asked = text or (found and (found[1] or found[2]))
    if not asked or not asked.strip():
        raise ValueError(f"nothing to read is asked for: put it in quotes, or in a column `text`; prompt {prompt!r}")
    return asked


def read(image: Image, engine: Any) -> str:
    """All lines that are found, one after the other."""
    lines, _ = engine(np.asarray(image.convert("RGB"))[..., ::-1])
    return "".join(text for _, text, _ in lines or [])


def _engine() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise ImportError("the OCR reward needs RapidOCR: pip install 'mixgrpo[ocr]'") from error
    return RapidOCR()
