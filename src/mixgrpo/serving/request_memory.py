"""The memory of all requests together, counted before it is taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from mixgrpo.rewards.clients.wire import TooLarge

_MIB = 2**20


class Busy(RuntimeError):
    """The memory is used by other requests. It is free again soon."""


class Memory:
    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self._lock = Lock()

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """What one request takes. All of it is free again at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.keep(0)

    def take(self, count: int) -> None:
        with self._lock:
            if self.used + count > self.total:
                raise Busy(f"busy: requests hold {self.used // _MIB} of {self.total // _MIB} MiB: try again")
            self.used += count

    def free(self, count: int) -> None:
        with self._lock:
            self.used -= count


class Share:
    def __init__(self, memory: Memory) -> None:
        self._memory, self._held = memory, 0

    def take(self, count: int) -> None:
        if self._held + count > self._memory.total:
            raise TooLarge(
                f"decoded, the request takes more than {self._memory.total // _MIB} MiB: send fewer images per request"
            )
        self._memory.take(count)
        self._held += count

    def keep(self, count: int) -> None:
        """Free all but this much."""
        self._memory.free(self._held - count)
        self._held = count
