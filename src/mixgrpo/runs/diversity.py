"""How different the images of one prompt are. A model that is rewarded for one kind of picture draws it every time."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from mixgrpo.data.prompts import Prompt

NAME = "diversity"
"""Beside the rewards in an evaluation."""

PROMPTS, IMAGES = 16, 4
"""How many prompts are drawn, and how often each, from different noise."""

_SIDE = 64  # pixels: what is smaller is texture


def repeated(prompts: Sequence[Prompt]) -> list[Prompt]:
    return [prompt for prompt in prompts for _ in range(IMAGES)]


def distances(images: Tensor) -> Tensor:
    """[prompts]: the root mean square distance of two images of a prompt, over the pixels in [0, 1] of pictures shrunk
    to 64 x 64. From [prompts * IMAGES, frames, 3, height, width].
    """
    small = adaptive_avg_pool2d(images.flatten(0, 1).float(), _SIDE)
    groups = small.view(-1, IMAGES, images.shape[1] * small[0].numel())
    return (2 * groups.var(1).mean(1)).sqrt()


def halved(before: float, now: float) -> str:
    """What to say of it; empty where it has not."""
    if now > before / 2:
        return ""
    return (
        f"the images of a prompt are {now:.3f} apart, before training {before:.3f}: the model draws one picture for "
        "each prompt, which is what reward hacking looks like. Stop here, raise objective.kl_weight, or use an earlier "
        "checkpoint"
    )
