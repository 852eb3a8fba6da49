"""Requests to stop a run. SIGINT and SIGTERM: the first asks for a stop, the second ends the process."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mixgrpo.parallel import distributed
from mixgrpo.signals import INTERRUPTED, hearing

_WORDS = 1.0  # seconds
_PATIENCE = 4.0  # seconds for trackers to close after the second signal


class StopRequests:
    def __init__(self) -> None:
        self._asked, self._signalled = threading.Event(), threading.Event()
        self._when = "before the next iteration"

    @property
    def signalled(self) -> bool:
        """Of this process: whoever sent a signal waits at a terminal."""
        return self._signalled.is_set()

    def ask(self) -> None:
        self._asked.set()

    def anywhere(self) -> bool:
        """Whether one of the processes was asked, which all of them must call together."""
        return distributed.anywhere(self._asked.is_set() or self._signalled.is_set())

    def forget(self) -> None:
        self._asked.clear()
        self._signalled.clear()

    @contextmanager
    def until(self, when: str) -> Iterator[None]:
        """What to say, meanwhile, of the moment at which the run will stop."""
        before, self._when = self._when, when
        try:
            yield
        finally:
            self._when = before

    @contextmanager
    def by_signals(self, quiet: bool, before: str = "") -> Iterator[None]:
        """`quiet`: say nothing, because another process does. `before`: what is written first, where a bar is shown."""
        if threading.current_thread() is not threading.main_thread():  # a notebook's worker: signals are not for it
            yield
            return
        answered = handled = 0
        ending = threading.Event()

        def say(text: str) -> None:
            if not quiet:
                os.write(
                    1, f"{before}{text}\n".encode()
                )  # a console or a buffered stream may be in use by the main thread

        def answer(number: int) -> None:
            nonlocal answered
            answered += 1
            if answered == 1:
                say(f"stopping {self._when}; a second signal stops at once")
                self._signalled.set()
            elif answered == 2:
                say("stopping at once; the last checkpoint stays")
                ending.set()
                threading.Thread(target=_exit_later, daemon=True).start()

        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal handled
            handled += 1
            # The run must not stop, and the process not end, before it is said that they will.
            if handled > 1:
                ending.wait(_WORDS)
                raise KeyboardInterrupt
            self._signalled.wait(_WORDS)

        handlers = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with hearing(answer):
                yield
        except Exception:
            if answered > 1:  # other processes have gone already, and with them the connection to them
                raise KeyboardInterrupt from None
            raise
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _exit_later() -> None:
    """Whatever hangs: a reward server, a tracker, other processes."""
    threading.Event().wait(_PATIENCE)
    os._exit(INTERRUPTED)
