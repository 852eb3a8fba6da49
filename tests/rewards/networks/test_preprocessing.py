"""Preprocessing equals that of the published code."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import CLIPImageProcessorPil

from mixgrpo.rewards.networks.preprocessing import centre_crop, centre_crop_floor, letterbox

MEAN, STD = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
SIZES = [(32, 32), (96, 64), (35, 71), (19, 20), (64, 37)]


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", SIZES)
def test_centre_crop_floor_equals_the_processor_of_transformers(size: tuple[int, int]) -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    theirs = processor(images=[noise(*size)], return_tensors="pt").pixel_values
    assert torch.allclose(centre_crop_floor([noise(*size)], 32), theirs, atol=1e-6)


def test_the_two_crops_differ_for_a_margin_of_three_pixels() -> None:
    """35 - 32 = 3: the corner is at 1.5, which one crop rounds to 2 and the other down to 1."""
    image = noise(35, 32)
    assert torch.equal(centre_crop([image], 32), centre_crop([image.crop((2, 0, 34, 32))], 32))
    assert torch.equal(centre_crop_floor([image], 32), centre_crop([image.crop((1, 0, 33, 32))], 32))


def test_letterbox_keeps_the_aspect_ratio_and_adds_black_bars() -> None:
    black = (-MEAN / STD)[:, None, None]
    wide, tall = letterbox([noise(64, 32), noise(20, 41)], 32)
    assert torch.equal(wide[:, :8], black.expand(3, 8, 32))
    assert torch.equal(wide[:, 24:], black.expand(3, 8, 32))
    # 20 of 41 become 16 of 32: eight black columns on each side.
    assert torch.equal(tall[:, :, :8], black.expand(3, 32, 8))
    assert not torch.equal(tall[:, :, 8], black.expand(3, 32, 1)[..., 0])


def test_letterbox_resizes_without_rounding_to_8_bits() -> None:
    """The filter overshoots, so values outside [0, 1] must survive."""
    pixels = torch.from_numpy(np.array(noise(64, 64))).permute(2, 0, 1).float() / 255
    expected = functional.interpolate(pixels[None], (32, 32), mode="bicubic", antialias=True)[0]
    resized = letterbox([noise(64, 64)], 32)[0] * STD[:, None, None] + MEAN[:, None, None]
    assert torch.allclose(resized, expected, atol=1e-6)


def test_images_with_transparency_or_without_colour_are_accepted() -> None:
    for preprocess in (centre_crop, centre_crop_floor, letterbox):
        assert preprocess([Image.new("RGBA", (40, 50)), Image.new("L", (9, 7))], 32).shape == (2, 3, 32, 32)
