"""Threads that call rewards. Unlike those of `ThreadPoolExecutor`, they do not keep the process from ending: a reward
may wait for a server that never answers.
"""

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Job(NamedTuple):
    future: Future[Any]
    call: Callable[[], Any]


class Workers:
    def __init__(self, threads: int, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        for number in range(threads):
            Thread(target=_work, args=(self._jobs,), name=f"{name}-{number}", daemon=True).start()
        self._end = weakref.finalize(self, _end, self._jobs, threads)

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Jobs are started in the order of their submission."""
        if not self._end.alive:
            raise RuntimeError("these workers have been closed")
        future: Future[T] = Future()
        self._jobs.put(_Job(future, lambda: function(*args)))
        return future

    def close(self) -> None:
        """Cancels the queued jobs. A thread ends when its present call returns; nobody waits for it."""
        self._end()


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        if job.future.set_running_or_notify_cancel():
            try:
                result = job.call()
            except BaseException as error:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
                del result
        del job  # its images would otherwise be kept until the next one arrives


def _end(jobs: SimpleQueue[_Job | None], threads: int) -> None:
    with suppress(Empty):
        while (job := jobs.get_nowait()) is not None:
            job.future.cancel()
            job.future.set_running_or_notify_cancel()
    for _ in range(threads):
        jobs.put(None)
