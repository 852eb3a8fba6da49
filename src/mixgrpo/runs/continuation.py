"""What may change between the start of a run and its continuation, and what a resumed run continues from."""

from collections.abc import Mapping
from typing import Any

from .folder import RunFolder

MAY_CHANGE = (
    "description",
    "iterations",
    "scoring",
    "evaluation",
    "save",
    "parallel",
    "speed.overlap_rewards",
    "speed.keep_text_encoders",
    "speed.text_cache",
    "speed.text_cache_gib",
    "speed.share_computation",
    "speed.compile",
    "trackers",
    "advantage",
    "objective",
    "renoise",
    "update.learning_rate",
    "update.warmup_iterations",
    "update.schedule",
    "update.weight_decay",
    "update.minibatches",
    "update.passes",
    "update.max_grad_norm",
)
"""Keys and sections. The others decide what the saved state means, or what was sampled so far."""


class CannotContinue(ValueError):
    """A run that cannot be continued as asked, and why."""


def check_changes(trained: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """The changed keys, of which each must be one that may change."""
    changed = _changed(trained, recipe)
    fixed = [key for key in changed if not any(key == name or key.startswith(f"{name}.") for name in MAY_CHANGE)]
    if fixed:
        raise CannotContinue(
            f"{', '.join(fixed)}: cannot change in a run that has begun. What may change: {', '.join(MAY_CHANGE)}"
        )
    return changed


def other_processes(before: int, now: int) -> str:
    """With fewer or more of them an iteration rounds differently and takes another time."""
    return "" if before == now else f", with {now} process{'es' * (now > 1)} instead of {before}"


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys += _changed(old, new, f"{prefix}{key}.")
        elif old != new:
            keys.append(prefix + key)
    return keys


def find_checkpoint(folder: RunFolder) -> tuple[int | None, list[str]]:
    """The iteration to continue from, None for a run that has not begun, and what there is to say about it."""
    iteration, damaged = folder.checkpoints.newest()
    lines, damaged_lines = folder.lines()
    if iteration is None and damaged:
        raise CannotContinue(f"{folder.path} has no complete checkpoint: {'; '.join(damaged)}")
    if iteration is None and lines:
        raise CannotContinue(
            f"{folder.path} recorded {len(lines)} iterations in metrics.jsonl, but has no checkpoint to continue from. "
            "Begin anew in another folder"
        )
    said = [f"{sentence}. Continuing from an older checkpoint" for sentence in damaged]
    if damaged_lines:
        said.append(f"{folder.metrics}: {damaged_lines} damaged lines are left out")
    return iteration, said
