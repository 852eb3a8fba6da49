"""What a reward is: any callable `(images, prompts, **metadata) -> list[float]`.

`images` are PIL images. `metadata` holds, for each key that the prompts' dataset has, one value an image, None where
a row lacks it. NaN is the answer for an image that could not be judged.
"""

from collections.abc import Callable

Reward = Callable[..., list[float]]
