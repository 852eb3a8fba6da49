"""Hear signals at once. Python runs a handler in the main thread and between two of its own instructions only: while
that thread is in a library, such as one that waits for other processes, nothing would be answered.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, by the shells' convention: 128 and the signal's number."""


@contextmanager
def hearing(heard: Callable[[int], None]) -> Iterator[None]:
    """Calls `heard` with a signal's number, on a thread of its own. Of those signals that have a handler."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        with reading:
            while numbers := reading.recv(64):  # nothing: the other end was closed
                for number in numbers:
                    heard(number)

    Thread(target=listen, name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writing.close()


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Ctrl-C ends the process with a sentence, for what leaves nothing to save. Not by an exception: libraries catch
    it while they are imported, or make an error of their own of it. Lasts to the process's end.
    """

    def end(number: int) -> None:
        if number != signal.SIGINT:
            return
        if os.environ.get("RANK", "0") == "0":  # one of the processes that torchrun started speaks for all
            os.write(2, b"stopped at once: nothing was being trained\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with hearing(end):
            yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # an exception would be a traceback while Python shuts down


@contextmanager
def raising() -> Iterator[None]:
    """Ctrl-C is KeyboardInterrupt again, for what has to clean up, such as processes of its own."""
    handler, descriptor = signal.signal(signal.SIGINT, signal.default_int_handler), signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        signal.signal(signal.SIGINT, handler)
