"""What the numbers of the last iterations mean: one sentence, empty where there is nothing to say; and whether
to go on at all.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from mixgrpo.recipe.schema import Recipe

_GAP_SHARE = 0.1  # of the clip range
_FALLING = 3.0  # standard errors
_EXPLODED = 100.0  # times the usual gradient
_USUAL_AFTER = 5  # iterations


def diagnose(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """The first that applies, from what makes training void to what makes it slow."""
    clip = recipe.update.clip_range
    gap = max(metrics["first_gap"] for metrics in recent)
    clipped = fmean(metrics["clipped"] for metrics in recent)
    skipped = fmean(metrics["skipped_groups"] for metrics in recent) / recipe.rollout.prompts
    failed = {name: sum(metrics["failed_scores"][name] for metrics in recent) for name in recipe.rewards}
    if gap > _GAP_SHARE * clip:
        return (
            f"rollout and update disagree by {gap:.0e}, clip_range is {clip:.0e}: the clip acts on rounding. "
            "Raise update.clip_range or use model.dtype=float32."
        )
    if skipped > 0.5:
        return (
            f"{skipped:.0%} of the groups have equal rewards and teach nothing: a graded reward, a larger "
            "rollout.group_size or a higher sde.noise_level would tell their images apart."
        )
    if any(failed.values()):
        counts = ", ".join(f"{count} by {name}" for name, count in failed.items() if count)
        return f"scores failed: {counts}; those images were left out of their groups. Why is in metrics.jsonl."
    if clipped > 0.8:
        return f"{clipped:.0%} of the ratios are clipped: lower update.learning_rate or update.updates."
    if all(_trend(recent, name) < -_FALLING for name in recipe.weights):
        return (
            f"{', '.join(recipe.weights)} falls: steps are mostly noise by now. Lower update.learning_rate, let it "
            "decay, or take more prompts an iteration; an earlier checkpoint is better than this one."
        )
    rising = [name for name in recipe.weights if _trend(recent, name) > 2]
    falling = [name for name in recipe.rewards if name not in recipe.weights and _trend(recent, name) < -2]
    if rising and falling:
        return (
            f"{', '.join(rising)} rises while {', '.join(falling)} falls: over-optimisation. Stop here, or raise "
            "update.kl; `mixgrpo sample --hybrid 0.8` tempers it."
        )
    moving = any(abs(_trend(recent, name)) > 1 for name in recipe.weights)
    # With one update an iteration no ratio ever leaves 1, which says nothing.
    if len(recent) >= 20 and not moving and clipped < 0.01 and recipe.update.updates > 1:
        return "rewards are flat and no ratio reaches the clip: a higher update.learning_rate may help."
    return ""


def exploded(recent: Sequence[dict[str, Any]]) -> str:
    """Why the last iteration must not become a checkpoint; empty where all is well. Clipping bounds each step, not
    what such a gradient says: that the policy has left the region where its samples were drawn.
    """
    *earlier, last = [metrics["grad_norm"] for metrics in recent]
    usual = median(earlier) if len(earlier) >= _USUAL_AFTER else 0.0
    if usual == 0 or last < _EXPLODED * usual:
        return ""
    return (
        f"iteration {recent[-1]['iteration']}: the gradient's norm is {last:.3g}, {last / usual:.0f} times the "
        f"median of the iterations before. Lower update.learning_rate or update.updates, or raise update.kl"
    )


def _trend(recent: Sequence[dict[str, Any]], name: str) -> float:
    """How far the reward moved from the first half to the second, in standard errors of that difference."""
    values = [metrics["rewards"][name] for metrics in recent]
    half = len(values) // 2
    if half < 2:
        return 0.0
    # Scatter about the trend: half the mean square of successive differences.
    noise = fmean((b - a) ** 2 for a, b in pairwise(values)) / 2
    moved = fmean(values[-half:]) - fmean(values[:half])
    return float(moved / max((2 * noise / half) ** 0.5, 1e-12))
