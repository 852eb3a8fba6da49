"""From pictures to what a vision tower sees, as each reward's published code prepares it.

What differs is the filter, what becomes of pictures that are not square, and which pixel an odd margin loses.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Prepare = Callable[[list[Image.Image], int], Tensor]

_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def cropped(images: list[Image.Image], size: int) -> Tensor:
    """The shorter side to `size` by PIL's bicubic filter, then the centre, its corner rounded (OpenAI's CLIP)."""
    return _shortest_side(images, size, corner=round)


def cropped_low(images: list[Image.Image], size: int) -> Tensor:
    """The same with the corner rounded down (transformers' CLIP processor)."""
    return _shortest_side(images, size, corner=int)


def letterboxed(images: list[Image.Image], size: int) -> Tensor:
    """The longer side to `size` by torch's antialiased bicubic filter, then black to a square (HPSv2)."""
    return _normalised([_letterbox(_to_tensor(image.convert("RGB")), size) for image in images])


def _shortest_side(images: list[Image.Image], size: int, corner: Callable[[float], int]) -> Tensor:
    squares = []
    for image in images:
        short = min(image.size)
        width, height = (int(size * side / short) for side in image.size)
        left, top = corner((width - size) / 2), corner((height - size) / 2)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        squares.append(_to_tensor(resized.crop((left, top, left + size, top + size))))
    return _normalised(squares)


def _letterbox(pixels: Tensor, size: int) -> Tensor:
    scale = size / max(pixels.shape[1:])
    height, width = (round(side * scale) for side in pixels.shape[1:])
    resized = functional.interpolate(pixels[None], (height, width), mode="bicubic", antialias=True)[0]
    left, top = (size - width) // 2, (size - height) // 2
    return functional.pad(resized, (left, size - width - left, top, size - height - top))


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _normalised(squares: list[Tensor]) -> Tensor:
    return (torch.stack(squares) - _MEAN) / _STD
