"""Machines of a network, as network namespaces: each has an address of its own and sees the others by a bridge. Only
root can make them.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

DEVICE = "eth0"


def possible() -> bool:
    return os.geteuid() == 0 and subprocess.run(["ip", "netns", "list"], capture_output=True).returncode == 0


@contextmanager
def machines(count: int, shape: str | None = None) -> Iterator[list[str]]:
    """Their names; `address` gives their addresses. `shape`: what `tc` does to what each of them sends, such as
    `netem delay 10ms rate 100mbit`.
    """
    own = f"mg{os.getpid()}"
    names = [f"{own}-{number}" for number in range(count)]
    with ExitStack() as stack:
        _ip("link", "add", own, "type", "bridge")
        stack.callback(_ip, "link", "del", own)
        _ip("link", "set", own, "up")
        for number, name in enumerate(names):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            cable = f"{own}v{number}"
            _ip("link", "add", cable, "type", "veth", "peer", "name", DEVICE, "netns", name)
            _ip("link", "set", cable, "master", own, "up")
            _ip("-n", name, "address", "add", f"{address(number)}/24", "dev", DEVICE)
            for device in (DEVICE, "lo"):
                _ip("-n", name, "link", "set", device, "up")
            if shape:
                _run("tc", "-n", name, "qdisc", "add", "dev", DEVICE, "root", *shape.split())
        yield names


def address(number: int) -> str:
    return f"10.77.0.{number + 1}"


def on(name: str, command: Sequence[str]) -> list[str]:
    return ["ip", "netns", "exec", name, *command]


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
