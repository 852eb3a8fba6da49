"""All state of a run, out and back, exactly: trained weights, their average, the optimizer, the iteration.

    checkpoints/000025/state.safetensors   tensors: weight/..., average/..., optimizer/.../...
                       state.json          what is no tensor
    checkpoints/latest                     a link to the newest whole one

A checkpoint is written aside and then renamed; a crash at any moment leaves the last one as it was. Every
random draw and the window are functions of the iteration, so there is no other state.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_LATEST = "latest"


@dataclass(frozen=True)
class Snapshot:
    iteration: int
    """Iterations done."""
    tensors: dict[str, Tensor]


def snapshot(
    iteration: int,
    parameters: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> Snapshot:
    tensors = {f"weight/{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = value
    return Snapshot(iteration, tensors)


def restore(
    state: Snapshot,
    parameters: dict[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    moments: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    with torch.no_grad():
        for key, tensor in state.tensors.items():
            kind, _, name = key.partition("/")
            match kind:
                case "weight":
                    parameters[name].copy_(tensor)
                case "average":
                    average[name].copy_(tensor)
                case "optimizer":
                    name, _, moment = name.rpartition("/")
                    moments[name][moment] = tensor
    for name, parameter in parameters.items():
        if moments[name]:
            optimizer.state[parameter] = {
                key: value.to(parameter.device if value.ndim else value.device) for key, value in moments[name].items()
            }


def save(folder: Path, state: Snapshot, keep: int) -> Path:
    """Write it, point `latest` at it, remove all but the `keep` newest."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{state.iteration:06}"
    aside = folder / f".{state.iteration:06}.part"
    for leftover in folder.glob(".0*.part"):
        shutil.rmtree(leftover)
    aside.mkdir()
    save_file({name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}, aside / "state.safetensors")
    (aside / "state.json").write_text(json.dumps({"iteration": state.iteration}) + "\n", encoding="utf-8")
    for path in (*aside.iterdir(), aside):
        _flush(path)
    if final.exists():
        shutil.rmtree(final)
    aside.rename(final)
    link = folder / f".{_LATEST}.part"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    link.replace(folder / _LATEST)
    _flush(folder)
    for old in sorted(path for path in folder.iterdir() if path.name.isdigit())[:-keep]:
        shutil.rmtree(old)
    return final


def load(checkpoint: Path) -> Snapshot:
    content = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return Snapshot(content["iteration"], load_file(checkpoint / "state.safetensors"))


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint."""
    link = folder / _LATEST
    return link.resolve() if link.exists() else None


def _flush(path: Path) -> None:
    """Have it on the disk, not only in the system's memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
