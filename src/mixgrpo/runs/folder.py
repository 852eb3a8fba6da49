"""A run's folder: what was asked for, where it ran, what happened, what came out.

recipe.yaml        the resolved configuration
environment.json   the run's name, versions and hardware
metrics.jsonl      one line per iteration: the source of truth
samples/           images of the same prompts from the same noise, at each evaluation
evaluation-*.json  rewards on the evaluation prompts, before training, on the way, and after
checkpoints/       all state
lora/              the result of a LoRA run, for `pipe.load_lora_weights`
transformer/       the result of a full run, in diffusers' format; a folder of its name for each trained network
"""

import json
import os
import platform
import secrets
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe

_PACKAGES = ("mixgrpo", "torch", "diffusers", "transformers", "peft", "numpy")


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.lora = path / "lora"

    def network(self, name: str) -> Path:
        """The result of full tuning, for one of the trained networks."""
        return self.path / name

    def evaluation(self, iteration: int) -> Path:
        return self.path / f"evaluation-{iteration:06}.json"

    def create(self, recipe: Recipe) -> None:
        """Done by the first process only."""
        if distributed.rank() != 0:
            return
        if self.recipe.exists():
            raise FileExistsError(
                f"{self.path} holds a run already: continue it with `mixgrpo resume {self.path}`, "
                "or name another folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        with self.recipe.open("w", encoding="utf-8") as file:
            YAML().dump(recipe.model_dump(mode="json"), file)
        environment = {
            "name": f"{self.path.name}-{secrets.token_hex(3)}",
            "packages": {name: version(name) for name in _PACKAGES},
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        }
        (self.path / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")

    def load_recipe(self) -> Recipe:
        """The recipe that the run was started with."""
        if not self.recipe.is_file():
            raise FileNotFoundError(f"{self.path} holds no run: it has no recipe.yaml")
        return load_recipe(str(self.recipe))

    @property
    def name(self) -> str:
        """Unique to this run, whatever its folder is called, and the same after a resume."""
        environment = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        return str(environment["name"])

    def append(self, line: dict[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Complete lines: a crash may have left half of the last one."""
        lines: list[dict[str, Any]] = []
        if self.metrics.exists():
            for text in self.metrics.read_text(encoding="utf-8").splitlines():
                try:
                    lines.append(json.loads(text))
                except json.JSONDecodeError:
                    break
        return lines

    def drop_from(self, iteration: int) -> None:
        """Drop the metrics of iterations that a resumed run will repeat."""
        kept = [line for line in self.lines() if line["iteration"] < iteration]
        temporary = self.metrics.with_suffix(".part")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(self.metrics)
