"""A run's folder.

recipe.yaml        the resolved recipe
adapter.json, train.jsonl, evaluation.jsonl   what was given as Python objects
environment.json   the run's name, versions and hardware
metrics.jsonl      one line per iteration: the source of truth
samples/           images of the same prompts from the same noise, at each evaluation
evaluation-*.json  rewards on the evaluation prompts, before training, on the way, and after
best.json          the iteration with the best evaluation
checkpoints/       all state
lora/              the result of a LoRA run, for `pipe.load_lora_weights`
transformer/       the result of a full run, in diffusers' format; a folder of its name for each trained network
run.lock           held by the process that is training
"""

import fcntl
import io
import json
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from ruamel.yaml import YAML

from mixgrpo.data.prompts import Prompt
from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe

from .atomic import write_json, write_text
from .checkpoints import Checkpoints, name_of

if TYPE_CHECKING:  # takes seconds to import
    from peft import LoraConfig as PeftLoraConfig

_PATIENCE = 10.0  # seconds
_PACKAGES = ("mixgrpo", "torch", "diffusers", "transformers", "peft", "numpy")


class Best(NamedTuple):
    iteration: int
    value: float
    by: dict[str, float]
    """Weights of the rewards that `value` is a sum of."""


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples"
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.lora = path / "lora"

    def network(self, name: str) -> Path:
        """The result of full tuning, for one of the trained networks."""
        return self.path / name

    def evaluation(self, iteration: int) -> Path:
        return self.path / f"evaluation-{name_of(iteration)}.json"

    def _used(self) -> bool:
        return bool(self.checkpoints.iterations()) or self.metrics.exists()

    def check_unused(self) -> None:
        if self._used():
            raise FileExistsError(
                f"{self.path} holds a run already: continue it with `mixgrpo resume {self.path}`, "
                "or name another folder"
            )

    def begun(self) -> bool:
        """Whether there is something to continue. All processes ask together."""
        return bool(distributed.gather(self._used())[0])

    @contextmanager
    def new_run(self, recipe: Recipe) -> Iterator[None]:
        """Begin a run here. If it fails before its first checkpoint, the folder is removed, unless it was there before:
        a mistake in a recipe should not leave an empty run for each attempt.
        """
        ours = distributed.rank() == 0 and _made(self.path)
        self.create(recipe)
        try:
            self._check_shared()
            yield
        except BaseException:
            if ours and not self.checkpoints.iterations():
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def create(self, recipe: Recipe) -> None:
        """Done by the first process only. A folder whose run never trained an iteration can be used again."""
        if distributed.rank() != 0:
            return
        self.check_unused()
        self.path.mkdir(parents=True, exist_ok=True)
        environment = {
            "name": f"{self.path.name}-{secrets.token_hex(3)}",
            "packages": {name: version(name) for name in _PACKAGES},
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        }
        write_json(self.path / "environment.json", environment)
        self.write_recipe(recipe)

    def _check_shared(self) -> None:
        """Each process writes its part of a checkpoint into this folder."""
        name = distributed.gather(self.name if distributed.rank() == 0 else None)[0]
        end = time.monotonic() + _PATIENCE
        while not (seen := self._is_named(name)) and time.monotonic() < end:
            time.sleep(0.2)  # a network's disk may be late
        machines = distributed.gather(None if seen else platform.node())
        if blind := [machine for machine in machines if machine is not None]:
            raise FileNotFoundError(
                f"{self.path} was made by process 1 and is not seen by {len(blind)} of {len(machines)}, on "
                f"{', '.join(sorted(set(blind)))}: it must be on a disk that all machines share"
            )

    def _is_named(self, name: str) -> bool:
        return (self.path / "environment.json").is_file() and self.name == name

    def write_prompts(self, name: str, prompts: Sequence[Prompt]) -> Path:
        """Prompts that were given as Python objects, so that the run can be continued and evaluated on them."""
        path = (self.path / f"{name}.jsonl").resolve()
        if distributed.rank() == 0:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                rows = [json.dumps({"prompt": prompt.text, **prompt.metadata}) + "\n" for prompt in prompts]
            except TypeError as error:
                raise ValueError(f"a column of the {name} prompts cannot be kept with the run: {error}") from None
            write_text(path, "".join(rows))
        return path

    def write_adapter(self, config: "PeftLoraConfig") -> None:
        """A LoRA configuration that was given as a Python object, as a whole."""
        if distributed.rank() == 0:
            self.path.mkdir(parents=True, exist_ok=True)
            plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
            write_json(self.path / "adapter.json", plain)

    def adapter(self) -> "PeftLoraConfig | None":
        file = self.path / "adapter.json"
        if not file.is_file():
            return None
        from peft import LoraConfig as PeftLoraConfig

        return PeftLoraConfig(**json.loads(file.read_text(encoding="utf-8")))

    def write_recipe(self, recipe: Recipe) -> None:
        text = io.StringIO()
        YAML().dump(recipe.model_dump(mode="json"), text)
        write_text(self.recipe, text.getvalue())

    def load_recipe(self, overrides: list[str] | None = None) -> Recipe:
        """The recipe that the run was started with, changed by `key=value` overrides."""
        if not self.recipe.is_file():
            raise FileNotFoundError(f"{self.path} holds no run: it has no recipe.yaml")
        return load_recipe(str(self.recipe), overrides or [])

    @property
    def name(self) -> str:
        """Unique to this run, whatever its folder is called, and the same after a resume."""
        environment = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        return str(environment["name"])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time trains in a folder. The system releases the lock if the process dies."""
        with (self.path / "run.lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise BlockingIOError(f"{self.path} is being trained by {owner}: stop that run first") from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            yield

    def append(self, line: dict[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_without_nan(line)) + "\n")

    def lines(self) -> tuple[list[dict[str, Any]], int]:
        """The complete lines of metrics.jsonl, and the number of damaged ones: a crash may have left half a line."""
        lines: list[dict[str, Any]] = []
        damaged = 0
        if self.metrics.exists():
            for text in self.metrics.read_bytes().split(b"\n"):
                if not text.strip():
                    continue
                try:
                    line = json.loads(text)
                    line["iteration"] + 0
                except (ValueError, TypeError, KeyError):
                    damaged += 1
                else:
                    lines.append(line)
        return lines, damaged

    def drop_from(self, iteration: int) -> None:
        """Drop the metrics of iterations that a resumed run will repeat."""
        lines, _ = self.lines()
        kept = [json.dumps(line) + "\n" for line in lines if line["iteration"] < iteration]
        write_text(self.metrics, "".join(kept))

    def best(self) -> Best | None:
        file = self.path / "best.json"
        return Best(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    def write_best(self, best: Best) -> None:
        write_json(self.path / "best.json", best._asdict())


def _made(path: Path) -> bool:
    """Whether this call made the folder: of two processes that ask at once, one is told so."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: None stands for it."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value
