"""How much better an image is than its group: the only signal GRPO learns from."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Aggregation = Literal["advantage", "reward"]

_EPSILON = 1e-8


def group_advantages(rewards: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-8) inside each group; `rewards` is [prompts, group size]."""
    if rewards.shape[1] < 2:
        raise ValueError(f"group size {rewards.shape[1]}: a group needs 2 images to be compared with each other")
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + _EPSILON)


def advantages(
    rewards: Mapping[str, Tensor],
    weights: Mapping[str, float],
    aggregation: Aggregation = "advantage",
    clip: float = 5.0,
) -> Tensor:
    """Several rewards in one number per image, clipped to +-clip.

    `advantage` weighs what each reward says inside the group, whatever its scale (the paper's choice);
    `reward` weighs the rewards themselves.
    """
    if aggregation == "advantage":
        combined = _weighted_sum({name: group_advantages(reward) for name, reward in rewards.items()}, weights)
    else:
        combined = group_advantages(_weighted_sum(rewards, weights))
    return combined.clamp(-clip, clip)


def _weighted_sum(tensors: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weights[name] * tensor for name, tensor in tensors.items()]).sum(0)
