"""What an update minimises, per transition: the clipped ratio, and the distance to a frozen reference."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """One number per transition each."""

    loss: Tensor
    ratio: Tensor
    clipped: Tensor
    """Whether the clip took the gradient away."""


def policy_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip_range: float) -> PolicyLoss:
    """max(-A * ratio, -A * clip(ratio, 1 - eps, 1 + eps))"""
    ratio = (log_prob - old_log_prob).exp()
    free, held = -advantage * ratio, -advantage * ratio.clamp(1 - clip_range, 1 + clip_range)
    return PolicyLoss(torch.maximum(free, held), ratio.detach(), held.detach() > free.detach())


def gaussian_kl(mean: Tensor, reference: Tensor, std: float) -> Tensor:
    """KL between two Gaussians of equal std, (m - m_ref)^2 / (2 std^2), averaged over dimensions as the
    log-probability is.
    """
    return ((mean - reference) / std).square().flatten(1).mean(1) / 2
