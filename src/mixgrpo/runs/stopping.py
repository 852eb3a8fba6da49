"""SIGINT and SIGTERM: the first asks for a stop after the current iteration, the second ends the process."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PATIENCE = 4.0  # seconds for trackers to close after the second signal


@contextmanager
def stop_requests(requested: threading.Event, quiet: bool) -> Iterator[None]:
    """Sets the event. `quiet`: say nothing, because another process does."""

    def say(text: str) -> None:
        if not quiet:
            os.write(1, f"{text}\n".encode())  # a console or a buffered stream may be in use: a handler interrupts it

    def handle(number: int, frame: FrameType | None) -> None:
        if requested.is_set():
            say("stopping at once; the last checkpoint stays")
            threading.Thread(target=_exit_later, daemon=True).start()
            raise KeyboardInterrupt
        requested.set()
        say("stopping after this iteration; a second signal stops at once")

    if threading.current_thread() is not threading.main_thread():  # a notebook's worker: signals are not for it
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_later() -> None:
    """Whatever hangs: a reward server, a tracker."""
    threading.Event().wait(_PATIENCE)
    os._exit(130)
