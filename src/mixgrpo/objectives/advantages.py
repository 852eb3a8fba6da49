"""How much better an image is than the rest of its group: the only signal that GRPO learns from.

Rewards are [prompts, group size]. NaN marks an image without a score: it is left out of its group's mean and std, and
its advantage is NaN. It never counts as 0, which would be a verdict.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mixgrpo.recipe.sections import Aggregation, Spread

_EPSILON = 1e-8
_EQUAL = 1e-6  # rewards closer than this differ by rounding, which dividing by their std would amplify


def group_advantages(rewards: Tensor, spread: Spread = "group") -> Tensor:
    """(r - mean) / (std + 1e-8), the mean over the scored images of each group, the std over those or over all. With
    fewer than two images there is no advantage.
    """
    if rewards.shape[1] < 2:
        raise ValueError(f"group size {rewards.shape[1]}: a group needs at least 2 images to compare")
    unit = group_std(rewards)[:, None] if spread == "group" else group_std(rewards.view(1, -1))
    advantage = (rewards - rewards.nanmean(1, keepdim=True)) / (unit + _EPSILON)
    return advantage.where(_differ(rewards)[:, None] | advantage.isnan(), 0)


def group_std(rewards: Tensor) -> Tensor:
    """[prompts]: the sample std of each group's scored images; NaN where there are fewer than two."""
    squares = (rewards - rewards.nanmean(1, keepdim=True)).square()
    return (squares.nansum(1) / (squares.isfinite().sum(1) - 1).clamp(min=0)).sqrt()  # 0 / 0 for fewer than two


def advantages(
    rewards: Mapping[str, Tensor],
    weights: Mapping[str, float],
    aggregation: Aggregation = "advantage",
    clip: float = 5.0,
    spread: Spread = "group",
) -> Tensor:
    """One number per image from several rewards, clipped to +-clip.

    `advantage` weighs the advantages of each reward, whatever its scale (the paper's choice); `reward` weighs the
    rewards themselves. An image that lacks the score of any reward is left out altogether.
    """
    compared = _scored_by_all(rewards)
    if aggregation == "advantage":
        combined = _weighted_sum({name: group_advantages(reward, spread) for name, reward in compared.items()}, weights)
    else:
        combined = group_advantages(_weighted_sum(compared, weights), spread)
    return combined.clamp(-clip, clip)


def has_signal(rewards: Mapping[str, Tensor]) -> Tensor:
    """[prompts]: whether any reward differs within the group. A group of equal rewards teaches nothing."""
    return torch.stack([_differ(reward) for reward in _scored_by_all(rewards).values()]).any(0)


def reward_spread(rewards: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """[prompts]: the std of each group's weighted sum of rewards; 0 where they differ by rounding alone."""
    combined = _weighted_sum(_scored_by_all({name: rewards[name] for name in weights}), weights)
    return group_std(combined).nan_to_num(0.0).where(_differ(combined), 0.0)


def _differ(rewards: Tensor) -> Tensor:
    """[prompts]: whether the rewards differ by more than rounding."""
    return rewards.nan_to_num(-torch.inf).amax(1) - rewards.nan_to_num(torch.inf).amin(1) > _EQUAL


def _scored_by_all(rewards: Mapping[str, Tensor]) -> dict[str, Tensor]:
    scored = torch.stack([*rewards.values()]).isfinite().all(0)
    return {name: reward.where(scored, torch.nan) for name, reward in rewards.items()}


def _weighted_sum(tensors: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weights[name] * tensor for name, tensor in tensors.items()]).sum(0)
