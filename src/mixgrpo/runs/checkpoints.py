"""Checkpoints on disk, each of them complete or not there, and never trusted unseen.

    checkpoints/000025/state.safetensors   all tensors of a snapshot
                       state.json          the iteration, and the recipe that was trained
                       manifest.json       size and SHA-256 of the two files above
    checkpoints/latest                     a link to the newest one, for people: nothing reads it

A checkpoint is written under a temporary name and then renamed. A crash at any moment leaves the earlier ones intact.
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mixgrpo.training.snapshot import Snapshot

from .atomic import flush, readable

_STATE, _FACTS, _MANIFEST, _LATEST = "state.safetensors", "state.json", "manifest.json", "latest"


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not what was saved, and what is wrong with it."""


class Newest(NamedTuple):
    iteration: int | None
    """Of the newest complete checkpoint; None if there is none."""
    damaged: list[str]
    """What is wrong with newer ones, a sentence each."""


def name_of(iteration: int) -> str:
    return f"{iteration:06}"


class Checkpoints:
    def __init__(self, path: Path) -> None:
        self.path = path

    def iterations(self) -> list[int]:
        """Of all checkpoints, complete or not."""
        if not self.path.is_dir():
            return []
        return sorted(int(path.name) for path in self.path.iterdir() if path.name.isdigit() and path.is_dir())

    def save(self, state: Snapshot, recipe: dict[str, Any], keep: int, spare: Collection[int] = ()) -> None:
        """Write it, and delete all but the `keep` newest and those to spare."""
        self.path.mkdir(parents=True, exist_ok=True)
        final = self.path / name_of(state.iteration)
        temporary = self.path / f".{final.name}.part"
        for leftover in self.path.glob(".*.part"):
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        temporary.mkdir()
        tensors = {name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}
        try:
            save_file(tensors, temporary / _STATE)
        except SafetensorError as error:  # its own word for an OSError
            raise OSError(f"{temporary / _STATE} could not be written: {error}") from error
        _write_json(temporary / _FACTS, {"iteration": state.iteration, "recipe": recipe})
        _write_json(temporary / _MANIFEST, {name: _fingerprint(temporary / name) for name in (_STATE, _FACTS)})
        readable(temporary / _STATE)
        for path in (*temporary.iterdir(), temporary):
            flush(path)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        self._link(final.name)
        flush(self.path)
        for old in self.iterations()[:-keep]:
            if old not in spare:
                shutil.rmtree(self.path / name_of(old))

    def newest(self) -> Newest:
        """The newest complete one. Every byte is compared with its manifest."""
        damaged = []
        for iteration in reversed(self.iterations()):
            try:
                self.verify(iteration)
            except DamagedCheckpoint as problem:
                damaged.append(str(problem))
            else:
                return Newest(iteration, damaged)
        return Newest(None, damaged)

    def verify(self, iteration: int) -> None:
        folder = self.path / name_of(iteration)
        manifest = _read_json(folder / _MANIFEST)
        for name in (_STATE, _FACTS):
            expected = manifest.get(name)
            if not (folder / name).is_file():
                raise DamagedCheckpoint(f"{folder / name} is missing")
            if _fingerprint(folder / name) != expected:
                raise DamagedCheckpoint(f"{folder / name} is damaged: its size or checksum is not that of its manifest")
        if self.facts(iteration)["iteration"] != iteration:
            raise DamagedCheckpoint(f"{folder} holds the state of another iteration than its name says")

    def load(self, iteration: int) -> Snapshot:
        return Snapshot(iteration, load_file(self.path / name_of(iteration) / _STATE))

    def load_weights(self, iteration: int, kind: str = "weight") -> dict[str, Tensor]:
        """The trained weights alone; `kind` average: their moving average, empty if there is none."""
        with safe_open(self.path / name_of(iteration) / _STATE, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(f"{kind}/")]  # noqa: SIM118 - not a mapping
            return {name.removeprefix(f"{kind}/"): file.get_tensor(name) for name in names}

    def facts(self, iteration: int) -> dict[str, Any]:
        """The iteration, and the recipe that was trained."""
        return _read_json(self.path / name_of(iteration) / _FACTS)

    def set_aside_after(self, iteration: int) -> None:
        """Rename newer ones, which are damaged, so that those a resumed run writes are the newest again."""
        for later in self.iterations():
            if later > iteration:
                path = self.path / name_of(later)
                target = path.with_name(f"{path.name}.damaged")
                if target.exists():
                    shutil.rmtree(target)
                path.rename(target)

    def _link(self, name: str) -> None:
        latest = self.path / _LATEST
        if latest.is_dir() and not latest.is_symlink():
            return  # copied without links: somebody else's folder
        link = self.path / f".{_LATEST}.part"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        link.replace(latest)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise DamagedCheckpoint(f"{path} is damaged: it holds no JSON object")
    return content


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
