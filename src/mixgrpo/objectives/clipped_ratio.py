"""The clipped ratio of PPO and GRPO at the transitions of the window, with an optional KL to the reference.

loss = max(-A ratio, -A clip(ratio, 1 - eps, 1 + eps)) + kl_weight * KL(policy || reference)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout, Transition
from mixgrpo.sampling.steppers.gaussian import advance, log_prob

from .objective import Loss, Selection, Term, Velocities


@dataclass(frozen=True)
class ClippedRatio:
    """Credits an image's advantage to the noise that it drew in the window, as published."""

    clip_range: float
    kl_weight: float = 0.0

    needs_window = True
    uses_old_policy = False  # the rollout kept its means

    @property
    def uses_reference(self) -> bool:
        return self.kl_weight > 0

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        return [ratio_term(self, transition, transition.x_next, advantages) for transition in rollout.transitions]


def ratio_term(settings: ClippedRatio, transition: Transition, x_next: Tensor, advantages: Tensor) -> Term:
    """The clipped ratio of arriving at `x_next`, which need not be what was drawn."""
    move = transition.step.move

    def loss(selection: Selection, velocities: Velocities) -> Loss:
        states, arrived = transition.states[selection.states], x_next[selection.images]
        state_of = selection.state_of[:, 0]
        means = advance(move, states, velocities.current)
        old_means = transition.means[selection.states]
        result = ratio_loss(
            log_prob(move, arrived, means[state_of]),
            log_prob(move, arrived, old_means[state_of]),
            advantages[selection.images],
            settings.clip_range,
        )
        ratio_error = (result.ratio - 1).abs()
        metrics = {"loss": result.value, "clip_fraction": result.clipped, "ratio_deviation": ratio_error}
        if velocities.reference is None:
            return Loss(result.value, metrics, ratio_error)
        kl = gaussian_kl(means, advance(move, states, velocities.reference), move.std)[state_of]
        return Loss(result.value + settings.kl_weight * kl, {**metrics, "kl": kl}, ratio_error)

    sigma = torch.full((len(transition.states),), transition.step.sigma, device=transition.states.device)
    return Term(transition.states, sigma, transition.prompt_of_state, transition.state_of[:, None], loss)


@dataclass(frozen=True)
class RatioLoss:
    """One number per transition each."""

    value: Tensor
    ratio: Tensor
    clipped: Tensor
    """Whether the clip removed the gradient."""


def ratio_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip_range: float) -> RatioLoss:
    """max(-A ratio, -A clip(ratio, 1 - eps, 1 + eps))"""
    ratio = (log_prob - old_log_prob).exp()
    unclipped, clipped = -advantage * ratio, -advantage * ratio.clamp(1 - clip_range, 1 + clip_range)
    return RatioLoss(torch.maximum(unclipped, clipped), ratio.detach(), clipped.detach() > unclipped.detach())


def gaussian_kl(mean: Tensor, reference: Tensor, std: float) -> Tensor:
    """KL between two Gaussians of equal std, (m - m_ref)^2 / (2 std^2), averaged over dimensions as the log-probability
    is.
    """
    return ((mean - reference) / std).square().flatten(1).mean(1) / 2
