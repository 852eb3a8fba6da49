"""PNG files of every mode, as a client may send them."""

import io

import numpy as np
import pytest
from PIL import Image

from mixgrpo.rewards.clients.rgb import to_rgb


def saved(image: Image.Image, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="PNG", **options)
    return Image.open(file)


def test_16_bit_gray_is_scaled() -> None:
    image = saved(Image.fromarray(np.array([[0, 30_000, 65_535]], dtype=np.uint16)))
    assert np.asarray(to_rgb(image)).tolist() == [[[0, 0, 0], [117, 117, 117], [255, 255, 255]]]


@pytest.mark.parametrize(("alpha", "shown"), [(0, 255), (255, 55), (128, 155)])
def test_what_is_transparent_is_white(alpha: int, shown: int) -> None:
    for image in (Image.new("RGBA", (1, 1), (55, 55, 55, alpha)), Image.new("LA", (1, 1), (55, alpha))):
        assert to_rgb(saved(image)).getpixel((0, 0)) == (shown, shown, shown)


def test_a_palette_may_have_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert np.asarray(to_rgb(saved(image, transparency=0))).tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_other_modes_are_converted(mode: str) -> None:
    assert to_rgb(saved(Image.new("RGB", (2, 2), "white").convert(mode))).getpixel((1, 1)) == (255, 255, 255)
