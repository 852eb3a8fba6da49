import io

import numpy as np
from PIL import Image

from mixgrpo.rewards.functions.jpeg import jpeg_compressibility, jpeg_incompressibility


def test_the_scores_are_the_size_in_kilobytes_and_its_negative() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    plain, prompts = Image.new("RGB", (64, 64), "red"), ["noise", "plain"]
    file = io.BytesIO()
    noise.save(file, "jpeg", quality=95)
    sizes = jpeg_incompressibility()([noise, plain], prompts)
    assert sizes[0] == len(file.getvalue()) / 1000
    assert sizes[0] > 5 * sizes[1]
    assert jpeg_compressibility()([noise, plain], prompts) == [-size for size in sizes]
