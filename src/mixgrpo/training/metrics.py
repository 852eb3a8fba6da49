"""What an iteration reports: rewards, what was learned, and where the time went."""

import time
from typing import Any

from mixgrpo.objectives.advantages import group_std
from mixgrpo.parallel import distributed

from .scoring import Scored
from .update import UpdateStats

Metrics = dict[str, Any]


def reward_metrics(scored: Scored, group_size: int) -> Metrics:
    """Per reward: its mean, its std within groups, and what failed."""
    groups = {name: values.view(-1, group_size) for name, values in scored.values.items()}
    return {
        "rewards": {name: values.nanmean().item() for name, values in groups.items()},
        "reward_std": {name: group_std(values).nanmean().item() for name, values in groups.items()},
        "failed_scores": scored.failed,
        "retried_scores": scored.retried,
        "score_errors": scored.errors,
    }


def update_metrics(stats: UpdateStats) -> Metrics:
    """Means over images and terms, of all processes."""
    per_rank = distributed.gather((stats.sums(), stats.largest_first_ratio_error(), stats.model_rows))
    names = sorted({"loss", *(name for sums, _, _ in per_rank for name in sums)} - {"count"})
    errors = [error for _, error, _ in per_rank if error is not None]
    count = max(1.0, sum(sums.get("count", 0.0) for sums, _, _ in per_rank))
    return {
        **{name: sum(sums.get(name, 0.0) for sums, _, _ in per_rank) / count for name in names},
        **({"first_ratio_error": max(errors)} if errors else {}),
        "update_rows": sum(rows for _, _, rows in per_rank),
    }


class Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
