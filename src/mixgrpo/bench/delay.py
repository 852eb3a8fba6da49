"""A network switch that keeps every frame for a while before it passes it on. Few kernels have `tc ... netem delay`."""

import fcntl
import os
import select
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread

_SET_INTERFACE, _ETHERNET_FRAMES = 0x400454CA, 0x1002  # TUNSETIFF, and IFF_TAP | IFF_NO_PI
_LARGEST = 70_000
_SOURCE, _TARGET = slice(6, 12), slice(0, 6)


@contextmanager
def switch(interfaces: Sequence[str], milliseconds: float) -> Iterator[None]:
    """Makes these network devices; whatever namespaces they are moved to, their frames come here."""
    ports = [_open(name) for name in interfaces]
    done = Event()
    thread = Thread(target=_pass_on, args=(ports, milliseconds / 1000, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        for port in ports:
            os.close(port)


def _open(name: str) -> int:
    port = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(port, _SET_INTERFACE, struct.pack("16sH14x", name.encode(), _ETHERNET_FRAMES))
    return port


def _pass_on(ports: Sequence[int], delay: float, done: Event) -> None:
    waiting: deque[tuple[float, int, bytes]] = deque()  # in the order of their time: all wait equally long
    known: dict[bytes, int] = {}
    while not done.is_set():
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
        for port in select.select(ports, [], [], wait)[0]:
            frame = os.read(port, _LARGEST)
            known[frame[_SOURCE]] = port
            waiting.append((time.monotonic() + delay, port, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, source, frame = waiting.popleft()
            target = known.get(frame[_TARGET])
            for port in [target] if target is not None else [port for port in ports if port != source]:
                with suppress(OSError):  # nobody has plugged in at that end
                    os.write(port, frame)
