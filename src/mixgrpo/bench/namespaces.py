"""Machines of a network, as network namespaces: each has an address of its own and sees the others by a bridge. Only
root can make them.
"""

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from .delay import switch

DEVICE = "eth0"

_made = itertools.count()


def possible() -> bool:
    return os.geteuid() == 0 and subprocess.run(["ip", "netns", "list"], capture_output=True).returncode == 0


@contextmanager
def machines(count: int, mbit: float | None = None, delay: float = 0.0) -> Iterator[list[str]]:
    """Their names; `address` gives their addresses. `mbit`: what each of them may send in a second. `delay`: how many
    milliseconds it is on its way.
    """
    own = f"mg{os.getpid() % 10000}n{next(_made)}"  # the system takes its time to remove those that are no longer used
    names = [f"{own}-{number}" for number in range(count)]
    with ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        cables = [f"{own}v{number}" for number in range(count)]
        stack.enter_context(switch(cables, delay) if delay else _bridge(own, cables))
        for number, (name, cable) in enumerate(zip(names, cables, strict=True)):
            _ip("link", "set", cable, "netns", name, "name", DEVICE)
            _ip("-n", name, "address", "add", f"{address(number)}/24", "dev", DEVICE)
            _ip("-n", name, "link", "set", DEVICE, "mtu", "9000")
            for device in (DEVICE, "lo"):
                _ip("-n", name, "link", "set", device, "up")
            if mbit is not None:
                limit = f"tbf rate {mbit}mbit burst 256kb latency 2s"
                _run("tc", "-n", name, "qdisc", "add", "dev", DEVICE, "root", *limit.split())
        yield names


@contextmanager
def _bridge(own: str, cables: Sequence[str]) -> Iterator[None]:
    """Without a delay the kernel itself passes frames on."""
    _ip("link", "add", own, "type", "bridge")
    try:
        _ip("link", "set", own, "up")
        for cable in cables:
            _ip("link", "add", cable, "type", "veth", "peer", "name", f"{cable}b")
            _ip("link", "set", f"{cable}b", "mtu", "9000", "master", own, "up")
        yield
    finally:
        _ip("link", "del", own)


def address(number: int) -> str:
    return f"10.77.0.{number + 1}"


def on(name: str, command: Sequence[str]) -> list[str]:
    return ["ip", "netns", "exec", name, *command]


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
