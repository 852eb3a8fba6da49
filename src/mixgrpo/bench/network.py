"""What processes send each other in an iteration, and how long they wait for it, on networks of several speeds.

    python -m mixgrpo.bench.network docs/results/network.json

Machines are network namespaces of this one, a process on each, whose cables `tc` and a switch slow down. What a process
sends is counted by its network device. Beside it: what the plan says of the bytes, and what this says of the seconds:

    seconds = those without a limit + bytes / rate + rounds * delay

`rounds`, of messages that wait for each other, are found from the network with the longest delay, and used for the
others. Needs to be root; takes ten minutes on 2 cores.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from .namespaces import DEVICE, address, machines, on, possible
from .plans import planned

RECIPE = "scenes"
_CHANGES = (
    "rollout.prompts=4 rollout.group_size=4 rollout.micro_batch=16 update.minibatches=2 tune_only=[] "
    "window.strategy=frozen"
)
WARMUP, ITERATIONS = 1, 3


class Network(NamedTuple):
    mbit: float | None
    """A second; None: as fast as the machine is."""
    delay: float = 0.0
    """Milliseconds, one way."""


class Case(NamedTuple):
    shard: str
    machines: int

    @property
    def changes(self) -> list[str]:
        return [*_CHANGES.split(), f"parallel.shard={self.shard}"]


CASES = (Case("none", 2), Case("full", 2), Case("none", 4), Case("full", 4))
NETWORKS = (Network(None), Network(1000, 20), Network(1000), Network(200), Network(200, 5))


def measured(case: Case, network: Network) -> list[dict[str, Any]]:
    """Bytes and seconds of each process."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={case.machines}", "--nproc-per-node=1"]
    torchrun += [f"--master-addr={address(0)}"]
    own = {**os.environ, "GLOO_SOCKET_IFNAME": DEVICE, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with machines(case.machines, network.mbit, network.delay) as names:
        processes = [
            subprocess.Popen(
                on(name, [*torchrun, f"--node-rank={number}", "-m", "mixgrpo.bench.network_worker", *case.changes]),
                env=own,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number, name in enumerate(names)
        ]
        said = [process.communicate()[0] for process in processes]
    if not all(said):  # what an agent of torchrun says when it leaves after the other one is of no interest
        raise RuntimeError(f"{case} on {network} failed: {said}")
    return [json.loads(text.splitlines()[-1]) for text in said]


def planned_bytes(case: Case) -> float:
    work = planned(RECIPE, case.changes, case.machines, "--per-machine", str(case.machines))["work"]
    # gloo sums all of a gradient in every process, of which each keeps its share: twice what NCCL sends.
    return float(sum(part["sent_bytes"] + part["scattered_bytes"] for part in work.values()))


def rows_of(case: Case, networks: Sequence[Network] = NETWORKS) -> list[dict[str, Any]]:
    expected, rows = planned_bytes(case), []
    for network in networks:
        found = measured(case, network)
        rows.append(
            {
                "shard": case.shard,
                "machines": case.machines,
                "mbit": network.mbit,
                "delay_ms": network.delay,
                "planned_bytes": expected,
                "sent_bytes": mean(process["sent_bytes"] for process in found),
                "seconds": max(process["seconds"] for process in found),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    free, *limited = rows
    slowest = max(limited, key=lambda row: row["delay_ms"], default=None)
    if slowest is not None:
        rounds = (slowest["seconds"] - free["seconds"] - _sending(slowest)) / (slowest["delay_ms"] / 1000)
        for row in limited:
            row["rounds"] = rounds
            row["modelled_seconds"] = free["seconds"] + _sending(row) + rounds * row["delay_ms"] / 1000
    return rows


def _sending(row: dict[str, Any]) -> float:
    return float(row["sent_bytes"] * 8 / (row["mbit"] * 1e6))


def main(json_file: Path) -> None:
    if not possible():
        print("only root can make network namespaces, so nothing is measured")
        return
    rows = [row for case in CASES for row in rows_of(case)]
    table = Table("sharding", "machines", "Mbit/s", "delay ms", "MB planned", "MB sent", "seconds", "modelled")
    for row in rows:
        table.add_row(
            row["shard"],
            str(row["machines"]),
            "-" if row["mbit"] is None else f"{row['mbit']:g}",
            f"{row['delay_ms']:g}",
            *(f"{row[name] / 1e6:.1f}" for name in ("planned_bytes", "sent_bytes")),
            f"{row['seconds']:.2f}",
            f"{row['modelled_seconds']:.2f}" if "modelled_seconds" in row else "",
        )
    Console(highlight=False).print(table)
    json_file.write_text(
        json.dumps({"recipe": RECIPE, "changes": _CHANGES, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
