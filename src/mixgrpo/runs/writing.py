"""Writing beside training: one thing at a time, on a thread and in a process group of its own."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from torch.distributed import ProcessGroup

from mixgrpo.parallel import distributed


class Writing:
    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writing")
        self._group = distributed.separate_group()
        self._under_way: Future[None] | None = None

    def begin(self, write: Callable[[ProcessGroup | None], None]) -> None:
        """All processes call this. `write` gets the group through which they may talk meanwhile."""
        self.finish()
        self._under_way = self._thread.submit(write, self._group)

    def finish(self) -> None:
        """Wait until it is written. What went wrong there is raised here."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """Finish, after an error as well: then that error is the one to tell."""
        self._thread.shutdown()
