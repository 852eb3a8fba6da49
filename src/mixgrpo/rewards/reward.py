"""The interface of a reward: any callable `(images, prompts, **metadata) -> list[float]`.

`images` are PIL images. `metadata` has one argument per column of the prompt dataset: a list with one value per image,
None where a row lacks the column. A score of NaN means that the image could not be judged.
"""

from collections.abc import Callable

Reward = Callable[..., list[float]]
