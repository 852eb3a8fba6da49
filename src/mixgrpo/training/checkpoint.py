"""All state of a run, saved and restored exactly: trained weights, their average, the optimizer, the iteration.

    checkpoints/000025/state.safetensors   tensors: weight/..., average/..., optimizer/.../...
                       state.json          everything else
    checkpoints/latest                     a link to the newest complete one

A checkpoint is written under a temporary name and then renamed; a crash at any moment leaves the last one intact. Every
random draw and the window are functions of the iteration, so there is no other state.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
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


def save(folder: Path, state: Snapshot, keep: int, keep_start: bool = False) -> Path:
    """Write it, point `latest` at it, and keep the `keep` newest, plus iteration 0 if `keep_start`."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / name_of(state.iteration)
    temporary = folder / f".{final.name}.part"
    for leftover in folder.glob(".0*.part"):
        shutil.rmtree(leftover)
    temporary.mkdir()
    tensors = {name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}
    save_file(tensors, temporary / "state.safetensors")
    (temporary / "state.json").write_text(json.dumps({"iteration": state.iteration}) + "\n", encoding="utf-8")
    for path in (*temporary.iterdir(), temporary):
        _flush(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    link = folder / f".{_LATEST}.part"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    link.replace(folder / _LATEST)
    _flush(folder)
    for old in sorted(path for path in folder.iterdir() if path.name.isdigit())[:-keep]:
        if not (keep_start and old.name == name_of(0)):
            shutil.rmtree(old)
    return final


def name_of(iteration: int) -> str:
    return f"{iteration:06}"


def load(checkpoint: Path) -> Snapshot:
    content = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return Snapshot(content["iteration"], load_file(checkpoint / "state.safetensors"))


def load_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The trained weights alone."""
    with safe_open(checkpoint / "state.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("weight/")]  # noqa: SIM118 - not a mapping
        return {name.removeprefix("weight/"): file.get_tensor(name) for name in names}


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint."""
    link = folder / _LATEST
    return link.resolve() if link.exists() else None


def _flush(path: Path) -> None:
    """Onto the disk, not only into the system's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
