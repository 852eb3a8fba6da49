"""What the metrics of the last iterations mean: advice, and whether training must stop."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from mixgrpo.recipe.schema import Recipe

_ENOUGH = 20  # iterations before flat rewards mean something
_FALLING = 3.0  # standard errors
_EXPLODED = 100.0  # times the usual gradient
_USUAL_AFTER = 5  # iterations


def diagnose(recent: Sequence[dict[str, Any]], recipe: Recipe) -> dict[str, str]:
    """Every finding that applies, by name, from what makes training pointless to what makes it slow."""
    return {name: said for name, check in FINDINGS.items() if (said := check(recent, recipe))}


def _mismatch(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """Rollout and update compute different probabilities for the same step: more than the clip range, so that the clip
    acts on rounding. Raise objective.clip_range or use model.dtype=float32.
    """
    clip = recipe.objective.clip
    error = max(metrics.get("first_ratio_error", 0.0) for metrics in recent)
    if clip is None or error < clip:  # as in the preflight
        return ""
    return (
        f"rollout and update disagree: |ratio - 1| is {error:.0e} where clip_range is {clip:.0e}, so the clip acts on "
        "rounding. Raise objective.clip_range or use model.dtype=float32."
    )


def _failed_scores(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """A reward gave no score for some images, which were left out of their groups. metrics.jsonl has the reasons."""
    failed = {name: sum(metrics["failed_scores"][name] for metrics in recent) for name in recipe.rewards}
    counts = ", ".join(f"{count} by {name}" for name, count in failed.items() if count)
    if not counts:
        return ""
    return f"scores failed: {counts}; those images were left out of their groups. metrics.jsonl has the reasons."


def _skipped_groups(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """More than half of the groups have equal rewards, which teach nothing. Use a graded reward, a larger
    rollout.group_size or a higher sde.noise_level.
    """
    skipped = fmean(metrics["skipped_groups"] for metrics in recent) / recipe.rollout.prompts
    if skipped <= 0.5:
        return ""
    return (
        f"{skipped:.0%} of the groups have equal rewards and are skipped: use a graded reward, a larger "
        "rollout.group_size or a higher sde.noise_level."
    )


def _clipping(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """More than 80% of the ratios are clipped, so that most images no longer count. Lower update.learning_rate or
    update.minibatches.
    """
    clipped = _clip_fraction(recent)
    return (
        ""
        if clipped <= 0.8
        else (f"{clipped:.0%} of the ratios are clipped: lower update.learning_rate or update.minibatches.")
    )


def _falling(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """Every trained reward falls: the updates are mostly noise. Lower update.learning_rate, use update.schedule=linear
    or more prompts per iteration, and export an earlier checkpoint.
    """
    if not all(_trend(recent, name) < -_FALLING for name in recipe.weights):
        return ""
    return (
        f"{', '.join(recipe.weights)} falls: the updates are mostly noise. Lower update.learning_rate, use "
        "update.schedule=linear, or more prompts per iteration; an earlier checkpoint is better than this one."
    )


def _hacking(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """A trained reward rises while one that is only observed falls: the model exploits the reward instead of drawing
    better images. Stop, raise objective.kl_weight, or draw with `mixgrpo sample --hybrid 0.8`.
    """
    rising = [name for name in recipe.weights if _trend(recent, name) > 2]
    falling = [name for name in recipe.rewards if name not in recipe.weights and _trend(recent, name) < -2]
    if not (rising and falling):
        return ""
    return (
        f"{', '.join(rising)} rises while {', '.join(falling)} falls: reward hacking. Stop here, or raise "
        "objective.kl_weight; `mixgrpo sample --hybrid 0.8` reduces it."
    )


def _too_slow(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """The rewards are flat and no ratio reaches the clip range: a higher update.learning_rate may help."""
    moving = any(abs(_trend(recent, name)) > 1 for name in recipe.weights)
    # With a single mini-batch no ratio ever leaves 1.
    if len(recent) < _ENOUGH or moving or _clip_fraction(recent) >= 0.01 or recipe.update.minibatches == 1:
        return ""
    return "rewards are flat and no ratio reaches the clip range: a higher update.learning_rate may help."


FINDINGS: dict[str, Callable[[Sequence[dict[str, Any]], Recipe], str]] = {
    "mismatch": _mismatch,
    "failed-scores": _failed_scores,
    "skipped-groups": _skipped_groups,
    "clipping": _clipping,
    "falling": _falling,
    "reward-hacking": _hacking,
    "too-slow": _too_slow,
}
"""By the name that `mixgrpo explain` knows. Each says in its docstring what it means and what to do."""


def _clip_fraction(recent: Sequence[dict[str, Any]]) -> float:
    return fmean(metrics.get("clip_fraction", 0.0) for metrics in recent)


def exploded(recent: Sequence[dict[str, Any]]) -> str:
    """Why the last iteration must not become a checkpoint; empty if all is well. Clipping bounds the step, but such a
    gradient means that the policy has left the region where its samples were drawn.
    """
    *earlier, last = [metrics["grad_norm"] for metrics in recent]
    usual = median(earlier) if len(earlier) >= _USUAL_AFTER else 0.0
    if usual == 0 or last < _EXPLODED * usual:
        return ""
    return (
        f"iteration {recent[-1]['iteration']}: the gradient's norm is {last:.3g}, {last / usual:.0f} times the median "
        "before it. Lower update.learning_rate or update.minibatches, or raise objective.kl_weight"
    )


def _trend(recent: Sequence[dict[str, Any]], name: str) -> float:
    """How far the mean reward moved from the first half to the second, in standard errors."""
    values = [metrics["rewards"][name] for metrics in recent]
    half = len(values) // 2
    if half < 2:
        return 0.0
    # Scatter about the trend: half the mean square of successive differences.
    noise = fmean((b - a) ** 2 for a, b in pairwise(values)) / 2
    moved = fmean(values[-half:]) - fmean(values[:half])
    return float(moved / max((2 * noise / half) ** 0.5, 1e-12))
