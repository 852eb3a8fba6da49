"""Start `mixgrpo` as a user does, alone or under torchrun, and watch what it prints and leaves."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).parents[2]

REWARD = '''"""Tells on the terminal that it was called, and for what: the images of a group share their prompt."""

import os

import numpy


def score(images, prompts):
    if os.environ.get("RANK", "0") == "0":
        os.write(1, b"scored group\\n" if len(set(prompts)) < len(prompts) else b"scored evaluation\\n")
    return [float(numpy.asarray(image).mean()) / 255 for image in images]
'''

ITERATIONS = 6
SMALL = [
    "scenes",
    f"iterations={ITERATIONS}",
    "model.height=32",
    "model.width=32",
    "grid.steps=6",
    "window.range=[1,3]",
    "rollout.prompts=4",
    "rollout.group_size=4",
    "rollout.micro_batch=16",
    "evaluation.prompts=24",
    "evaluation.steps=4",
    "evaluation.every=3",
    "save.every=1",
]
"""Little of everything."""


def environment() -> dict[str, str]:
    """Of the processes that are started: this package, one thread each, every line at once."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def command(processes: int, arguments: Sequence[str]) -> list[str]:
    if processes == 1:
        return [sys.executable, "-m", "mixgrpo", *arguments, "--processes", "1"]
    return [*torchrun(f"--nproc-per-node={processes}", f"--master-port={free_port()}"), *arguments]


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", "mixgrpo"]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Launched:
    """A command in a process group of its own, with its output line by line."""

    def __init__(self, processes: int, arguments: Sequence[str]) -> None:
        self.processes = processes
        self.begin = time.monotonic()
        self.lines: list[str] = []
        self.times: list[float] = []
        self.process = subprocess.Popen(
            command(processes, arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """False if the process ended before it happened."""
        while not happened():
            if self.ended:
                return False
            time.sleep(0.002)
        return True

    def wait(self, seconds: float = 300) -> int:
        """The exit status, once everything it printed has been read."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._reader.join(10)
        return status

    def ranks(self) -> list[int]:
        """The process ids of the ranks that torchrun started."""
        ranks = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                if rank := [value for value in variables if value.startswith(b"RANK=")]:
                    ranks[int(rank[0].removeprefix(b"RANK="))] = int(child)
        return [ranks[rank] for rank in sorted(ranks)]

    def kill(self) -> None:
        """All at once. The ranks are in groups of their own, where torchrun puts them."""
        for pid in (self.process.pid, *self.ranks()):
            os.kill(pid, signal.SIGKILL)

    def interrupt(self) -> None:
        """As a terminal does it on Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.times.append(time.monotonic())
            self.lines.append(line.rstrip("\n"))


def finished(processes: int, arguments: Sequence[str]) -> Launched:
    """Run it to its end, which must be a good one."""
    launched = Launched(processes, arguments)
    status = launched.wait()
    if status != 0:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {status}\n{launched.output}")
    return launched


def small_run(folder: Path) -> list[str]:
    """What to start `train` with. The reward's file, which gives its name, is one for all runs beside each other."""
    own = folder.parent / "own.py"
    if not own.exists():  # another run may be reading it
        own.write_text(REWARD, encoding="utf-8")
    return ["train", *SMALL, f'rewards={{"{own}:score": 1.0}}', "--out", str(folder)]


def iterations_shown(lines: Sequence[str]) -> int:
    shown = [int(found[1]) for line in lines if (found := re.match(rf" +(\d+)/{ITERATIONS} ", line))]
    return max(shown, default=0)


def since_the_last_iteration(lines: Sequence[str]) -> list[str]:
    last = max((i for i, line in enumerate(lines) if re.match(rf" +\d+/{ITERATIONS} ", line)), default=-1)
    return [*lines[last + 1 :]]
