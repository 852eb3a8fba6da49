"""Credit an image's advantage to its final image instead of to the noise it drew.

A policy gradient moves the mean of a step along E[A noise]. Noise has as many dimensions as the latents; few of them
show in the image, and all the others add variance: over one group the sum is mostly chance.

Where the mean should move is known without the noise. Under the policy tilted by rewards, p(x0 | x) exp(A / beta), the
expected image is to first order

    x0_hat + Cov(A, x0) / beta

So each transition is scored as if it had gone not where its noise led but toward its own final image, relative to its
group, by the average length of the noise. Ratio, clip and KL stay as they are, and the mean moves along the sum of
A (x0 - x0_hat). Published relatives at re-noised states: RVM (2608.23664), RAM (2605.10759), AWM, V-GRPO (2604.23380).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout, Transition
from mixgrpo.sampling.steppers.gaussian import clean_image, velocity_of

from .clipped_ratio import ClippedRatio, ratio_term
from .objective import Term

_NEGLIGIBLE = 1e-4
"""Latents are of order 1: images that differ by less carry no signal."""


@dataclass(frozen=True)
class ImageCredit:
    ratio: ClippedRatio

    needs_window = True
    uses_old_policy = False
    uses_average = False

    @property
    def uses_reference(self) -> bool:
        return self.ratio.uses_reference

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        return [
            ratio_term(
                self.ratio,
                transition,
                toward_images(
                    transition,
                    rollout.latents[transition.images.start : transition.images.stop],
                    rollout.group_size,
                ),
                advantages,
            )
            for transition in rollout.transitions
        ]


def toward_images(transition: Transition, images: Tensor, group_size: int) -> Tensor:
    """Where each image's transition would have arrived, had it gone toward its final image."""
    move, states, means = transition.step.move, transition.states, transition.means
    expected = clean_image(states, velocity_of(move, states, means), transition.step.sigma)
    surprise = (images - expected[transition.state_of]).view(-1, group_size, *images.shape[1:])
    surprise = surprise - surprise.mean(1, keepdim=True)
    all_but_group = tuple(range(1, surprise.dim()))
    scale = surprise.square().mean(all_but_group, keepdim=True).sqrt().clamp(min=_NEGLIGIBLE)
    return means[transition.state_of] + (move.std * surprise / scale).view_as(images)
