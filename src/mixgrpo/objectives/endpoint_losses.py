"""Losses of the velocity at re-noised final images. Any sampler may have drawn them: no step has to be stochastic.

With the error W of `velocity_error` and its change D = W_old - W, the log-ratio of an image's likelihoods:

    ratio         max(-A exp(D), -A clip(exp(D)))                           AWM, V-GRPO
    likelihood    w W,  w = sg([A or A - D] [1 or exp(D)])                  RVM, ELBO-PEPG
    nft           (r W(v+) + (1 - r) W(v-)) / b                             DiffusionNFT
                  v+ = b v + (1 - b) v_old,  v- = (1 + b) v_old - b v,  r = clip(A / 2c + 1/2, 0, 1)
    ram           mean (v - sg(v_ref + m A (v* - u)))^2,  u = v or v_old    RAM

Each is averaged over the D draws of an image. The gradients of `likelihood` are those of ELBO-PEPG's `par` too, whose
value alone is another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor

from mixgrpo.recipe.objectives import ErrorWeighting, NftSignal

from .objective import Loss
from .ratio import RatioLoss, clipped
from .velocity_error import mean_square, velocity_error

Anchor = Literal["reference", "average", "old", "old-image"]


@dataclass(frozen=True)
class Draws:
    """What is known at the D re-noised states of each of n images. Velocities are [n, D, *latents]."""

    sigma: Tensor
    """[n, D]"""
    target: Tensor
    """The velocity that leads to the image."""
    current: Tensor
    old: Tensor
    reference: Tensor | None = None
    average: Tensor | None = None

    def of(self, anchor: Anchor) -> Tensor:
        velocity = {"reference": self.reference, "average": self.average, "old": self.old, "old-image": self.old}[
            anchor
        ]
        assert velocity is not None
        return velocity


def ratio(
    draws: Draws,
    advantage: Tensor,
    *,
    weighting: ErrorWeighting,
    clip_range: float | None,
    average: Literal["ratios", "log-likelihoods"],
    soft_clip: float | None = None,
    power: float = 0.25,
) -> Loss:
    """`average`: over an image's draws, before or after the exponential. `soft_clip` c: A becomes c tanh(A / c)."""
    log_ratio = velocity_error(weighting, draws.old, draws.target, draws.sigma, power) - velocity_error(
        weighting, draws.current, draws.target, draws.sigma, power
    )
    if average == "log-likelihoods":
        log_ratio = log_ratio.mean(1, keepdim=True)
    wanted = advantage if soft_clip is None else soft_clip * (advantage / soft_clip).tanh()
    each = wanted[:, None].expand_as(log_ratio)
    result = _free(log_ratio, each) if clip_range is None else clipped(log_ratio, each, clip_range)
    metrics = {"clip_fraction": result.clipped.float().mean(1), "ratio_deviation": (result.ratio - 1).abs().mean(1)}
    return Loss(result.value.mean(1), metrics, (result.ratio - 1).abs())


def _free(log_ratio: Tensor, advantage: Tensor) -> RatioLoss:
    ratios = log_ratio.exp()
    return RatioLoss(-advantage * ratios, ratios.detach(), torch.zeros_like(ratios, dtype=torch.bool))


def likelihood(
    draws: Draws,
    advantage: Tensor,
    *,
    weighting: ErrorWeighting,
    proximal: bool = False,
    off_policy: bool = False,
    guidance: float = 1.0,
) -> Loss:
    """`proximal`: A - D instead of A, which holds back what has moved already. `off_policy`: times exp(D). `guidance`
    is the unit of errors of a model with guidance, which grow with it.
    """
    unit = guidance ** {"adaptive": 1, "velocity": 2}.get(weighting, 0)
    error = velocity_error(weighting, draws.current, draws.target, draws.sigma) / unit
    old_error = velocity_error(weighting, draws.old, draws.target, draws.sigma) / unit
    change = old_error - error.detach()
    weight = advantage[:, None] - change if proximal else advantage[:, None].expand_as(change)
    if off_policy:
        weight = weight * change.exp()
    return Loss((weight * error).mean(1), {"ratio_deviation": (change.exp() - 1).abs().mean(1)})


def nft(
    draws: Draws,
    advantage: Tensor,
    *,
    mixing: float,
    advantage_range: float,
    signal: NftSignal = "all",
    adaptive: bool = True,
    around: Literal["old", "average"] = "old",
) -> Loss:
    """`mixing` is b, `advantage_range` c. The loss is c times the formula's, so that c sets the contrast of r alone.
    `around`: whose velocity v_old is.
    """
    wanted = (_signal(advantage, signal) / advantage_range / 2 + 0.5).clamp(0, 1)[:, None]
    weighting: ErrorWeighting = "adaptive" if adaptive else "image"
    old = draws.of(around)
    toward = mixing * draws.current + (1 - mixing) * old
    away = (1 + mixing) * old - mixing * draws.current
    positive = velocity_error(weighting, toward, draws.target, draws.sigma)
    negative = velocity_error(weighting, away, draws.target, draws.sigma)
    value = advantage_range * (wanted * positive + (1 - wanted) * negative) / mixing
    return Loss(value.mean(1))


def _signal(advantage: Tensor, signal: NftSignal) -> Tensor:
    match signal:
        case "all":
            return advantage
        case "positive-only":
            return advantage.clamp(min=0)
        case "negative-only":
            return advantage.clamp(max=0)
        case "binary":
            return advantage.sign()
        case "one-only":
            return (advantage > 0).to(advantage)
    assert_never(signal)


def ram(draws: Draws, advantage: Tensor, *, multiplier: float, residual: Literal["current", "old"]) -> Loss:
    assert draws.reference is not None
    at = draws.current if residual == "current" else draws.old
    scale = (multiplier * advantage).view(-1, *[1] * (at.dim() - 1))
    goal = (draws.reference + scale * (draws.target - at)).detach()
    return Loss(mean_square(draws.current - goal).mean(1))


def anchored(loss: Loss, draws: Draws, weights: Mapping[Anchor, float]) -> Loss:
    """With penalties for leaving other velocities: the reference's, the average's, the old policy's, and the old
    policy's images, which are sigma^2 as far apart.
    """
    value, metrics = loss.value, dict(loss.metrics)
    for name, weight in weights.items():
        distance = mean_square(draws.current - draws.of(name))
        if name == "old-image":
            distance = draws.sigma.square() * distance
        value = value + weight * distance.mean(1)
        metrics["kl" if name == "reference" else f"distance_to_{name}"] = distance.detach().mean(1)
    return Loss(value, metrics, loss.ratio_error)
