"""Request counts and latencies of a reward server."""

import statistics
from collections import Counter, deque
from typing import Any

_RECENT = 1000  # successful responses whose latency is kept


class Metrics:
    def __init__(self) -> None:
        self.images = 0
        self._statuses: Counter[int] = Counter()
        self._seconds: deque[float] = deque(maxlen=_RECENT)

    def record(self, status: int, images: int, seconds: float) -> None:
        self._statuses[status] += 1
        self.images += images
        if status == 200:
            self._seconds.append(seconds)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self._statuses.total(),
            "images": self.images,
            "failures": sum(count for status, count in self._statuses.items() if status >= 500 and status != 503),
            "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
            "latency_seconds": quantiles([*self._seconds]),
        }


def quantiles(values: list[float]) -> dict[str, float]:
    """The median, the 90th and the 99th percentile. Empty if there are no values."""
    if len(values) < 2:
        return dict.fromkeys(("p50", "p90", "p99"), values[0]) if values else {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {f"p{percent}": cuts[percent - 1] for percent in (50, 90, 99)}
