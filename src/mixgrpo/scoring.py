"""Score images while the next ones are drawn: reward functions on a thread pool, their answers checked."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .data import Prompt
from .rewards.registry import Reward


class RewardError(RuntimeError):
    """A reward function that failed, with its name and what it was given."""


class Scorer:
    """Collects the scores of a number of images, in the order of their submission."""

    def __init__(self, rewards: Mapping[str, Reward], threads: int = 1) -> None:
        self._rewards = rewards
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reward")
        self._pending: list[tuple[Sequence[Prompt], dict[str, Future[Any]]]] = []

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> None:
        """[N, 3, height, width] in [0, 1], with the prompt of each."""
        pictures = to_pil(images)
        texts = [prompt.text for prompt in prompts]
        columns = {key for prompt in prompts for key in prompt.metadata}
        metadata = {key: [prompt.metadata.get(key) for prompt in prompts] for key in sorted(columns)}
        self._pending.append(
            (
                prompts,
                {
                    name: self._pool.submit(reward, pictures, texts, **metadata)
                    for name, reward in self._rewards.items()
                },
            )
        )

    def collect(self) -> dict[str, Tensor]:
        """Waits for all that was submitted. A score that is no finite number comes back as NaN."""
        scores: dict[str, list[float]] = {name: [] for name in self._rewards}
        pending, self._pending = self._pending, []
        for prompts, futures in pending:
            for name, future in futures.items():
                scores[name] += _checked(name, prompts, future)
        return {name: torch.tensor(values, dtype=torch.float32) for name, values in scores.items()}


def _checked(name: str, prompts: Sequence[Prompt], future: "Future[Any]") -> list[float]:
    try:
        values = [float(value) for value in future.result()]
    except Exception as error:
        raise RewardError(
            f"reward {name} failed on {len(prompts)} images, the first for {prompts[0].text!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if len(values) != len(prompts):
        raise RewardError(f"reward {name} gave {len(values)} scores for {len(prompts)} images: it must give one each")
    return [value if math.isfinite(value) else math.nan for value in values]


def to_pil(images: Tensor) -> list[Image.Image]:
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in pixels]
