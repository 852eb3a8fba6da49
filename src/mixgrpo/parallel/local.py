"""Several processes on this machine without torchrun. On a CPU one process a core, each with one thread, is 1.3 to 1.5
times as fast as one process with a thread a core: operators are too small to be worth splitting.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread

import torch
import torch.distributed as dist

_PATIENCE = 5.0  # seconds for the others to end after this process

_LOOPBACK = "127.0.0.1"
_FOLLOWER = "_MIXGRPO_FOLLOWER"


class ProcessEnded(RuntimeError):
    """One of the processes ended before its time."""


def processes_for(prompts: int) -> int:
    """One a core, as far as there are prompts, on a machine without an accelerator; elsewhere, and where torchrun
    started this process, one.
    """
    if "RANK" in os.environ or torch.accelerator.is_available():
        return 1
    return max(1, min(len(os.sched_getaffinity(0)) // _threads(), prompts))


@contextmanager
def company(processes: int) -> Iterator[None]:
    """This process becomes the first of so many. The others run the same command and end with this one."""
    if _FOLLOWER in os.environ:
        Thread(target=_end_with_the_first, name="end with the first process", daemon=True).start()
    if processes == 1 or "RANK" in os.environ:  # one of the others
        yield
        return
    threads = _threads()
    torch.set_num_threads(threads)
    os.environ |= {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": _LOOPBACK,
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": str(threads),
        "RANK": "0",
        "LOCAL_RANK": "0",
    }
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "mixgrpo", *sys.argv[1:]],
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), _FOLLOWER: "1"},
            stdin=subprocess.PIPE,  # closed by the system when this process is gone, however it ended
        )
        for rank in range(1, processes)
    ]
    left = Event()
    Thread(target=_end_unless_all_join, args=(others, left), name="wait for the other processes", daemon=True).start()
    try:
        yield
    except RuntimeError as error:  # a connection that broke
        if killed := _killed(others):
            raise ProcessEnded(killed) from error
        raise
    finally:
        left.set()
        _end(others)


def _end_unless_all_join(others: Sequence["subprocess.Popen[bytes]"], left: Event) -> None:
    """A process that ends before it has joined is waited for by the others, in a call that no signal interrupts."""
    while not (dist.is_initialized() or left.wait(0.1)):
        if any(process.poll() for process in others):
            print(_killed(others) or "another process failed before it had joined", file=sys.stderr, flush=True)
            os._exit(1)


def _end_with_the_first() -> None:
    sys.stdin.read()
    os._exit(1)


def _threads() -> int:
    """Of each process."""
    return int(os.environ.get("OMP_NUM_THREADS", 1))


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind((_LOOPBACK, 0))
        return int(listening.getsockname()[1])


def _killed(others: Sequence["subprocess.Popen[bytes]"]) -> str | None:
    for rank, process in enumerate(others, start=1):
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)  # its connections break a moment before it is gone
        status = process.returncode
        if status is not None and status < 0:
            return (
                f"process {rank + 1} of {len(others) + 1} was ended by {signal.Signals(-status).name}; by the system, "
                "if memory ran out. The last checkpoint stays: continue with mixgrpo resume"
            )
    return None


def _end(others: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in others:
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
