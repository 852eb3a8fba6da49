"""Checkpoints on disk, each of them complete or not there, and never trusted unseen.

    checkpoints/000025/shard-*.safetensors   the tensors of a snapshot: a file from each process, its own part
                       state.json            the iteration, the recipe that was trained, and by how many processes
                       manifest.json         size and SHA-256 of the files above
    checkpoints/latest                       a link to the newest one, for people: nothing reads it

A checkpoint is written under a temporary name and then renamed. A crash at any moment leaves the earlier ones intact.
Tensors are written and read by torch's distributed checkpoints, by all processes together, however many there were when
it was written. Several processes need a disk that all of them see.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from mixgrpo.parallel import distributed
from mixgrpo.training.snapshot import Snapshot

from .atomic import flush, readable

_FACTS, _MANIFEST, _LATEST = "state.json", "manifest.json", "latest"
_SHARDS = "shard-*.safetensors"

Room = Callable[[str, torch.Size, torch.dtype], Tensor]
"""Gives the tensor that a saved one is read into, by its name, shape and dtype."""

warnings.filterwarnings("ignore", "torch.distributed is disabled")  # a single process is as it should be


def _whole_on_cpu(name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)


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

    def save(
        self,
        state: Snapshot,
        recipe: dict[str, Any],
        keep: int,
        spare: Collection[int] = (),
        group: ProcessGroup | None = None,
    ) -> None:
        """Write it, and delete all but the `keep` newest and those to spare. All processes call this, on a second
        thread with a group of its own.
        """
        temporary = self.path / f".{name_of(state.iteration)}.part"
        first = distributed.rank() == 0
        if first:
            self._make(temporary)
        distributed.gather(None, group)
        _write_tensors(state.tensors, temporary, group)
        own = temporary / f"shard-{distributed.rank() + 1:05}-model-00001-of-00001.safetensors"
        written = {}
        if own.is_file():  # small states have no part for every process
            readable(own)
            flush(own)
            written = {own.name: _fingerprint(own)}
        fingerprints = {name: entry for part in distributed.gather(written, group) for name, entry in part.items()}
        if first:
            facts = {"iteration": state.iteration, "recipe": recipe, "processes": distributed.world_size()}
            _write_json(temporary / _FACTS, facts)
            _write_json(temporary / _MANIFEST, {**fingerprints, _FACTS: _fingerprint(temporary / _FACTS)})
            self._publish(temporary, self.path / name_of(state.iteration))
            for old in self.iterations()[:-keep]:
                if old not in spare:
                    shutil.rmtree(self.path / name_of(old))
        distributed.gather(None, group)  # whoever goes on from here finds it

    def _make(self, temporary: Path) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.glob(".*.part"):
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
        temporary.mkdir()

    def _publish(self, temporary: Path, final: Path) -> None:
        for path in (temporary / _FACTS, temporary / _MANIFEST, temporary):
            flush(path)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        self._link(final.name)
        flush(self.path)

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
        unknown = {path.name for path in folder.glob(_SHARDS)} - manifest.keys()
        if unknown or _FACTS not in manifest or len(manifest) < 2:
            raise DamagedCheckpoint(f"{folder / _MANIFEST} does not list the files that are there")
        for name, expected in manifest.items():
            if not (folder / name).is_file():
                raise DamagedCheckpoint(f"{folder / name} is missing")
            if _fingerprint(folder / name) != expected:
                raise DamagedCheckpoint(f"{folder / name} is damaged: its size or checksum is not that of its manifest")
        if self.facts(iteration)["iteration"] != iteration:
            raise DamagedCheckpoint(f"{folder} holds the state of another iteration than its name says")

    def load(self, iteration: int, room: Room = _whole_on_cpu, kind: str = "") -> Snapshot:
        """All of it, or one kind: `weight`, `average`, `optimizer`. All processes call this, each with room for its own
        part of every tensor.
        """
        reader = HuggingFaceStorageReader(str(self.path / name_of(iteration)))
        tensors = {
            name: room(name, entry.size, entry.properties.dtype)
            for name, entry in reader.read_metadata().state_dict_metadata.items()
            if name.startswith(kind) and isinstance(entry, TensorStorageMetadata)  # nothing else is saved
        }
        if tensors:
            load(dict(tensors), storage_reader=reader)
        return Snapshot(iteration, tensors)

    def load_weights(self, iteration: int, kind: str = "weight") -> dict[str, Tensor]:
        """The trained weights alone; `kind` average: their moving average, empty if there is none."""
        tensors = self.load(iteration, kind=f"{kind}/").tensors
        return {name.removeprefix(f"{kind}/"): tensor for name, tensor in tensors.items()}

    def facts(self, iteration: int) -> dict[str, Any]:
        """The iteration, the recipe that was trained, and by how many processes."""
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


def _write_tensors(tensors: Mapping[str, Tensor], folder: Path, group: ProcessGroup | None) -> None:
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save(dict(tensors), storage_writer=writer, process_group=group)
    except CheckpointException as error:
        why = next(iter(error.failures.values()))[0]
        raise OSError(f"{folder} could not be written: {why}") from None


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
