import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest

from mixgrpo.rewards.workers import Workers


def test_jobs_start_in_order_and_return_or_raise() -> None:
    started: list[int] = []
    workers = Workers(1, "test")
    futures = [workers.submit(started.append, number) for number in range(5)]
    failing = workers.submit(int, "x")
    assert [future.result(5) for future in futures] == [None] * 5
    assert started == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="'x'"):
        failing.result(5)


def test_close_cancels_what_is_queued_and_waits_for_nothing() -> None:
    entered, release = threading.Event(), threading.Event()

    def block() -> int:
        entered.set()
        release.wait(5)
        return 1

    workers = Workers(1, "test")
    running, queued = workers.submit(block), workers.submit(block)
    entered.wait(5)
    workers.close()
    with pytest.raises(CancelledError):
        queued.result(5)
    release.set()
    assert running.result(5) == 1
    with pytest.raises(RuntimeError, match="closed"):
        workers.submit(block)


def test_the_threads_end_with_their_workers() -> None:
    workers = Workers(2, "mortal")
    workers.submit(int).result(5)
    del workers
    for thread in threading.enumerate():
        if thread.name.startswith("mortal"):
            thread.join(5)
            assert not thread.is_alive()


def test_a_call_that_never_returns_does_not_keep_the_process_alive() -> None:
    code = "import time; from mixgrpo.rewards.workers import Workers; Workers(1, 'w').submit(time.sleep, 100)"
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", code], timeout=20, check=True)
    assert time.monotonic() - begin < 10
