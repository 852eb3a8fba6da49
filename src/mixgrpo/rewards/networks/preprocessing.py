"""Image preprocessing for vision encoders, as in each reward's published code.

The variants differ in the resize filter, in how they make an image square, and in how they round the corner of a crop.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Preprocess = Callable[[list[Image.Image], int], Tensor]

_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def centre_crop(images: list[Image.Image], size: int) -> Tensor:
    """Resize the shorter side to `size` with PIL's bicubic filter and crop the centre. The crop's corner is rounded to
    the nearest pixel (OpenAI's CLIP).
    """
    return _resize_and_crop(images, size, round_corner=round)


def centre_crop_floor(images: list[Image.Image], size: int) -> Tensor:
    """The same, but the crop's corner is rounded down (the CLIP processor of transformers)."""
    return _resize_and_crop(images, size, round_corner=int)


def letterbox(images: list[Image.Image], size: int) -> Tensor:
    """Resize the longer side to `size` with torch's antialiased bicubic filter, pad to a square with black (HPSv2)."""
    return _normalise([_letterbox_one(_to_tensor(image.convert("RGB")), size) for image in images])


def _resize_and_crop(images: list[Image.Image], size: int, round_corner: Callable[[float], int]) -> Tensor:
    squares = []
    for image in images:
        shorter = min(image.size)
        width, height = (int(size * side / shorter) for side in image.size)
        left, top = round_corner((width - size) / 2), round_corner((height - size) / 2)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        squares.append(_to_tensor(resized.crop((left, top, left + size, top + size))))
    return _normalise(squares)


def _letterbox_one(pixels: Tensor, size: int) -> Tensor:
    scale = size / max(pixels.shape[1:])
    height, width = (round(side * scale) for side in pixels.shape[1:])
    resized = functional.interpolate(pixels[None], (height, width), mode="bicubic", antialias=True)[0]
    left, top = (size - width) // 2, (size - height) // 2
    return functional.pad(resized, (left, size - width - left, top, size - height - top))


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _normalise(squares: list[Tensor]) -> Tensor:
    return (torch.stack(squares) - _MEAN) / _STD
