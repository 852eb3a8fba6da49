"""How many cores other work keeps busy. OpenMP's threads wait for each other at every step: where one of them has no
core to itself, all are slow.
"""

import time

import psutil
import torch

from mixgrpo.parallel import distributed

_SPARE = 0.5  # cores: what a desktop does beside a run


class CoreWatch:
    """From its construction on, for a second or more."""

    def __init__(self) -> None:
        self._begin, self._all, self._own = time.perf_counter(), _all_busy(), _own_busy()

    def busy_elsewhere(self) -> float:
        """Cores that processes not of this run have kept busy, on average."""
        seconds = time.perf_counter() - self._begin
        return max(0.0, (_all_busy() - self._all - (_own_busy() - self._own)) / seconds)

    def advice(self) -> str | None:
        return advice(self.busy_elsewhere(), psutil.cpu_count() or 1, torch.get_num_threads())


def advice(busy_elsewhere: float, cores: int, threads: int) -> str | None:
    """None if this process's threads have a core each."""
    wanted = threads * distributed.world_size()
    free = cores - busy_elsewhere
    if threads == 1 or free + _SPARE >= wanted:
        return None
    fitting = max(1, int(free / distributed.world_size()))
    return (
        f"other work keeps {busy_elsewhere:.1f} of {cores} cores busy, and {wanted} threads wait for each other: "
        f"iterations may take several times as long. Stop it, or begin again with OMP_NUM_THREADS={fitting}"
    )


def _all_busy() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))  # waiting for a disk needs no core


def _own_busy() -> float:
    """Seconds of this run's processes on this machine."""
    own = psutil.Process().cpu_times()
    return float(sum(distributed.gather(own.user + own.system)))
