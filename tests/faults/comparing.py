"""What two folders of the same run hold, to the bit."""

import json
from pathlib import Path
from typing import Any

import torch
from launching import ITERATIONS

from mixgrpo.runs.checkpoints import Checkpoints


def differences(first: Path, second: Path) -> list[str]:
    """The names of what differs: the last checkpoint's tensors, the exported files, metrics without their times,
    evaluations, their images and the best iteration. Empty if the runs are the same.
    """
    found = []
    one, other = (Checkpoints(run / "checkpoints").load(ITERATIONS).tensors for run in (first, second))
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other or not _same_bits(one[name], other[name]):
            found.append(name)
    for pattern in ("transformer/*", "evaluation-*.json", "samples/*.png", "best.json"):
        names = {str(file.relative_to(run)) for run in (first, second) for file in run.glob(pattern)}
        if not names:
            found.append(f"no {pattern}")
        for name in sorted(names):
            files = [first / name, second / name]
            if not all(file.is_file() for file in files) or files[0].read_bytes() != files[1].read_bytes():
                found.append(name)
    if _metrics(first) != _metrics(second):
        found.append("metrics.jsonl")
    return found


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Also of NaN, and of zeros with a sign."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)))


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
