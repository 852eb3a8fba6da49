"""Images of any mode as RGB: 16-bit gray is scaled, not clipped, and what is transparent is shown on white."""

import numpy as np
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")
