"""Processes under torchrun, for the scripts beside this file."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path


def torchrun(script: str, *arguments: str, processes: int, machines: int = 1) -> None:
    """On this machine, as if it were so many with so many processes each. All must end well."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--master-addr=127.0.0.1", f"--master-port={port}"]
    command += [f"--nnodes={machines}", f"--nproc-per-node={processes}"]
    file = str(Path(__file__).with_name(script))
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, f"--node-rank={machine}", file, *arguments],
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for machine in range(machines)
        ]
        said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * machines, "\n".join(said)
