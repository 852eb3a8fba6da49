import multiprocessing
import re
import time

import pytest

from mixgrpo.runs.cores import CoreWatch, advice


@pytest.mark.parametrize(
    ("busy_elsewhere", "cores", "threads"),
    [(0.2, 2, 2), (1.9, 2, 1), (6.0, 16, 8)],  # a single thread waits for nobody
)
def test_threads_with_a_core_each_need_no_advice(busy_elsewhere: float, cores: int, threads: int) -> None:
    assert advice(busy_elsewhere, cores, threads) is None


@pytest.mark.parametrize(
    ("busy_elsewhere", "cores", "threads", "words"),
    [
        (1.8, 2, 2, "other work keeps 1.8 of 2 cores busy, and 2 threads wait.*OMP_NUM_THREADS=1$"),
        (12.0, 16, 8, "OMP_NUM_THREADS=4$"),
    ],
)
def test_threads_without_are_told_how_many_fit(busy_elsewhere: float, cores: int, threads: int, words: str) -> None:
    assert re.search(words, advice(busy_elsewhere, cores, threads) or "")


def spin() -> None:
    """Work for a second."""
    while time.process_time() < 1.0:
        pass


def test_the_work_of_another_process_is_seen() -> None:
    watch, begin = CoreWatch(), time.perf_counter()
    other = multiprocessing.get_context("spawn").Process(target=spin)
    other.start()
    other.join()
    assert watch.busy_elsewhere() * (time.perf_counter() - begin) > 0.9


def test_the_work_of_this_one_is_not_counted() -> None:
    watch, begin = CoreWatch(), time.perf_counter()
    end = time.process_time() + 1.0
    while time.process_time() < end:
        pass
    seconds = time.perf_counter() - begin
    assert watch.busy_elsewhere() <= multiprocessing.cpu_count() - 0.9 / seconds
