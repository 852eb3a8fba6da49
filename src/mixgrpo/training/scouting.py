"""Scouting: draw many images in few steps, and only the best and the worst of them properly (Sol-RL, 2604.06916).

What is kept of a candidate is its noise, from which the proper image is drawn again. Which noise is kept depends on
rewards, so that the images are no fair sample of the policy, and a ratio of likelihoods would mean nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mixgrpo.sampling.noise import Noise


def best_and_worst(advantages: Tensor, count: int) -> list[list[int]]:
    """[prompts, candidates] -> of each prompt `count` candidates: half of them its best, the others its worst. One
    without a score comes last in both.
    """
    best = advantages.nan_to_num(-float("inf")).argsort(dim=1, descending=True, stable=True).tolist()
    worst = advantages.nan_to_num(float("inf")).argsort(dim=1, stable=True).tolist()
    return [_half_each(*orders, count) for orders in zip(best, worst, strict=True)]


def _half_each(best: Sequence[int], worst: Sequence[int], count: int) -> list[int]:
    chosen = [*best[: count - count // 2]]
    return chosen + [candidate for candidate in worst if candidate not in chosen][: count // 2]


@dataclass(frozen=True)
class KeptNoise:
    """The noise of the candidates that were kept, as that of a group's images."""

    noise: Noise
    candidates: Mapping[int, Sequence[int]]
    """By the prompt's number: which candidate each image was."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.noise.shape

    def initial(self, prompt: int, image: int | None) -> Tensor:
        return self.noise.initial(prompt, None if image is None else self.candidates[prompt][image])

    def step(self, prompt: int, image: int, step: int) -> Tensor:
        return self.noise.step(prompt, self.candidates[prompt][image], step)
