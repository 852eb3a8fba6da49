"""DDPO's test rewards: the size of an image as a JPEG of quality 95. Any trainer should quickly move it either way."""

from io import BytesIO
from typing import Any

from PIL.Image import Image

from mixgrpo.rewards.reward import Reward

_QUALITY = 95


def jpeg_incompressibility() -> Reward:
    """Size as a JPEG in kB: more detail is better."""
    return _kilobytes


def jpeg_compressibility() -> Reward:
    """Negative size as a JPEG in kB: smoother is better."""

    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        return [-size for size in _kilobytes(images, prompts)]

    return reward


def _kilobytes(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
    return [_size(image) / 1000 for image in images]


def _size(image: Image) -> int:
    file = BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY)
    return file.tell()
