"""The clipped ratio of PPO and GRPO at the transitions of the window, with an optional KL to the reference.

loss = weight of the step * max(-A ratio, -A clip(ratio, 1 - eps, 1 + eps)) + kl_weight * KL(policy || reference)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout, Transition
from mixgrpo.sampling.steppers.gaussian import advance, log_prob

from .objective import Loss, Selection, Term, Velocities
from .ratio import clipped, gaussian_kl, guarded_log_ratio, masked


@dataclass(frozen=True)
class ClippedRatio:
    """Credits an image's advantage to the noise that it drew in the window, as published."""

    clip_range: float
    kl_weight: float = 0.0
    divergence: float | None = None
    """Drop terms by their KL to the old policy, instead of clipping their ratio."""
    guarded: bool = False
    """GRPO-Guard's ratio."""

    needs_window = True
    uses_old_policy = False  # the rollout kept its means
    uses_average = False

    @property
    def uses_reference(self) -> bool:
        return self.kl_weight > 0

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        return [ratio_term(self, transition, transition.x_next, advantages) for transition in rollout.transitions]


def ratio_term(settings: ClippedRatio, transition: Transition, x_next: Tensor, advantages: Tensor) -> Term:
    """The clipped ratio of arriving at `x_next`, which need not be what was drawn."""
    step, move = transition.step, transition.step.move
    advantages = advantages[transition.images.start : transition.images.stop]

    def loss(selection: Selection, velocities: Velocities) -> Loss:
        states, arrived = transition.states[selection.states], x_next[selection.images]
        state_of = selection.state_of[:, 0]
        means, old_means = advance(move, states, velocities.current), transition.means[selection.states]
        mean, old_mean, advantage = means[state_of], old_means[state_of], advantages[selection.images]
        if settings.guarded:
            log_ratio = guarded_log_ratio(arrived, mean, old_mean, move.std)
        else:
            log_ratio = log_prob(move, arrived, mean) - log_prob(move, arrived, old_mean)
        if settings.divergence is None:
            result = clipped(log_ratio, advantage, settings.clip_range)
        else:
            change = gaussian_kl(means.detach(), old_means, move.std)[state_of]
            result = masked(log_ratio, advantage, change, settings.divergence)
        value, error = step.weight * result.value, (result.ratio - 1).abs()
        metrics = {"loss": value, "clip_fraction": result.clipped, "ratio_deviation": error}
        if velocities.reference is None:
            return Loss(value, metrics, error)
        kl = gaussian_kl(means, advance(move, states, velocities.reference), move.std)[state_of]
        return Loss(value + settings.kl_weight * kl, {**metrics, "kl": kl}, error)

    sigma = torch.full((len(transition.states),), step.sigma, device=transition.states.device)
    return Term(
        transition.states, sigma, transition.prompt_of_state, transition.state_of[:, None], transition.images, loss
    )
