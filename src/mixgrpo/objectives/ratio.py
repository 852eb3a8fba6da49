"""Losses of the ratio between the new policy and the old one, and how far a ratio may go.

clipped   max(-A ratio, -A clip(ratio, 1 - eps, 1 + eps))                        PPO, GRPO
masked    -A ratio, or 0 where the divergence is large and the ratio has gone      Flow-DPPO (2606.11025)
          the way that A asked for
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RatioLoss:
    """One number per ratio each."""

    value: Tensor
    ratio: Tensor
    clipped: Tensor
    """Whether the gradient was removed."""


def clipped(log_ratio: Tensor, advantage: Tensor, clip_range: float) -> RatioLoss:
    ratio = log_ratio.exp()
    free, bounded = -advantage * ratio, -advantage * ratio.clamp(1 - clip_range, 1 + clip_range)
    return RatioLoss(torch.maximum(free, bounded), ratio.detach(), bounded.detach() > free.detach())


def masked(log_ratio: Tensor, advantage: Tensor, divergence: Tensor, threshold: float) -> RatioLoss:
    ratio = log_ratio.exp()
    went_along = advantage * (ratio - 1) > 0
    dropped = (divergence >= threshold) & went_along
    return RatioLoss((-advantage * ratio).where(~dropped, 0.0), ratio.detach(), dropped)


def gaussian_kl(mean: Tensor, reference: Tensor, std: float | Tensor) -> Tensor:
    """KL between two Gaussians of equal std, (m - m_ref)^2 / (2 std^2), averaged over dimensions as the log-probability
    is.
    """
    return ((mean - reference) / std).square().flatten(1).mean(1) / 2


def guarded_log_ratio(x_next: Tensor, mean: Tensor, old_mean: Tensor, std: float | Tensor) -> Tensor:
    """GRPO-Guard's: noise (m - m_old), averaged over dimensions. It is the log-ratio without its drift, which is always
    negative, in units of which one clip range fits every step.

        std (log p - log p_old) + mean (m - m_old)^2 / (2 std)
    """
    noise = (x_next - old_mean) / std
    return (noise * (mean - old_mean)).flatten(1).mean(1)
