"""What the numbers of the last iterations mean, in one sentence; empty where there is nothing to say."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from .config import Recipe

_GAP_SHARE = 0.1  # of the clip range


def diagnose(recent: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    clip = recipe.update.clip_range
    gap = max(metrics["first_gap"] for metrics in recent)
    clipped = fmean(metrics["clipped"] for metrics in recent)
    skipped = fmean(metrics["skipped_groups"] for metrics in recent) / recipe.rollout.prompts
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
    if clipped > 0.8:
        return f"{clipped:.0%} of the ratios are clipped: lower update.learning_rate or update.updates."
    failed = sum(metrics["failed_scores"] for metrics in recent)
    if failed:
        return f"{failed} scores were no numbers; their groups were skipped."
    return ""
