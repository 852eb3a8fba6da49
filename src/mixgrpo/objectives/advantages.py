"""How much better an image is than its group: the only signal GRPO learns from.

Rewards are [prompts, group size]. NaN is an image without a score: it has no part in its group's mean and std, and
no advantage, which is NaN again. Never is it a zero, which would be a verdict.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Aggregation = Literal["advantage", "reward"]

_EPSILON = 1e-8
_EQUAL = 1e-6  # rewards closer than this differ by rounding, which dividing by their std would blow up


def group_advantages(rewards: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-8) over the scored images of each group; fewer than two have nothing to compare."""
    if rewards.shape[1] < 2:
        raise ValueError(f"group size {rewards.shape[1]}: a group needs 2 images to be compared with each other")
    advantage = (rewards - rewards.nanmean(1, keepdim=True)) / (group_std(rewards)[:, None] + _EPSILON)
    return advantage.where(_differ(rewards)[:, None] | advantage.isnan(), 0)


def group_std(rewards: Tensor) -> Tensor:
    """[prompts]: of a sample, the scored images of each group; NaN where there are fewer than two."""
    squares = (rewards - rewards.nanmean(1, keepdim=True)).square()
    return (squares.nansum(1) / (squares.isfinite().sum(1) - 1).clamp(min=0)).sqrt()  # 0 / 0 of fewer than two


def advantages(
    rewards: Mapping[str, Tensor],
    weights: Mapping[str, float],
    aggregation: Aggregation = "advantage",
    clip: float = 5.0,
) -> Tensor:
    """Several rewards in one number per image, clipped to +-clip.

    `advantage` weighs what each reward says inside the group, whatever its scale (the paper's choice);
    `reward` weighs the rewards themselves. An image that any of them has not scored is left out of all.
    """
    compared = _scored_by_all(rewards)
    if aggregation == "advantage":
        combined = _weighted_sum({name: group_advantages(reward) for name, reward in compared.items()}, weights)
    else:
        combined = group_advantages(_weighted_sum(compared, weights))
    return combined.clamp(-clip, clip)


def told_apart(rewards: Mapping[str, Tensor]) -> Tensor:
    """[prompts]: does any reward differ within the group? One that is equal throughout teaches nothing."""
    return torch.stack([_differ(reward) for reward in _scored_by_all(rewards).values()]).any(0)


def _differ(rewards: Tensor) -> Tensor:
    """[prompts]: by more than rounding?"""
    return rewards.nan_to_num(-torch.inf).amax(1) - rewards.nan_to_num(torch.inf).amin(1) > _EQUAL


def _scored_by_all(rewards: Mapping[str, Tensor]) -> dict[str, Tensor]:
    scored = torch.stack([*rewards.values()]).isfinite().all(0)
    return {name: reward.where(scored, torch.nan) for name, reward in rewards.items()}


def _weighted_sum(tensors: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weights[name] * tensor for name, tensor in tensors.items()]).sum(0)
