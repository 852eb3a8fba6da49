"""What an image's advantage is credited to: the noise it drew, or the picture that came of it.

A policy gradient moves the mean of a step along E[A noise]. Noise has as many dimensions as the latents, few of them
show in the picture, and all the others are variance: over one group the sum is nearly all chance.

What a state should have led to, had good pictures been likelier, is known without it. Of the policy tilted by rewards,
p(x0 | x) exp(A / beta), the expected picture is, to first order,

    x0_hat + Cov(A, x0) / beta

So each transition is taken to have gone not where its noise led but toward its own picture, as far as the noise of
its group goes on average. Ratio, clip and KL are as ever, and the mean moves along the sum of A (x0 - x0_hat).
"""

from dataclasses import replace

from torch import Tensor

from mixgrpo.sampling.rollout import Rollout, Transition
from mixgrpo.sampling.steppers.gaussian import clean_image, velocity_of

_ALIKE = 1e-4
"""Latents are of order 1: pictures that differ by less say nothing."""


def to_pictures(sampled: Rollout, group_size: int) -> Rollout:
    """The same rollout, its transitions as if each had stepped toward its picture."""
    transitions = tuple(_toward(transition, sampled.latents, group_size) for transition in sampled.transitions)
    return replace(sampled, transitions=transitions)


def _toward(transition: Transition, pictures: Tensor, group_size: int) -> Transition:
    move, states, means = transition.step.move, transition.states, transition.means
    expected = clean_image(states, velocity_of(move, states, means), transition.step.sigma)
    surprise = (pictures - expected[transition.state_of]).view(-1, group_size, *pictures.shape[1:])
    surprise = surprise - surprise.mean(1, keepdim=True)
    every = tuple(range(1, surprise.dim()))
    scale = surprise.square().mean(every, keepdim=True).sqrt().clamp(min=_ALIKE)
    ahead = (move.std * surprise / scale).view_as(pictures)
    return replace(transition, x_next=means[transition.state_of] + ahead)
