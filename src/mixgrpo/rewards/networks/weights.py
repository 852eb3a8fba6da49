"""Find and read published weights. Code inside a weights file is never executed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor

Weights = dict[str, Tensor]
CONFIG, TOKENIZER = "config.json", "tokenizer.json"


class MissingWeights(FileNotFoundError):
    """Weights that were not found. The message says which, where to get them and which option to set."""


@dataclass(frozen=True)
class Source:
    """The value of an option that locates weights: a local path, or a repository on the Hugging Face hub."""

    option: str
    path: str
    repository: str
    """The hub repository that publishes these weights."""

    def file(self, name: str) -> Path:
        """The path itself if it is a file, otherwise the file `name` in the folder or repository."""
        local = Path(self.path)
        if local.is_file():
            return local
        if local.is_dir():
            if not (local / name).is_file():
                raise self._missing(name)
            return local / name
        try:
            return Path(hf_hub_download(self.path, name))
        except (OSError, ValueError) as error:  # offline, no such repository, or not a repository name
            raise self._missing(name) from error

    def check(self, name: str) -> None:
        """Raises MissingWeights unless `file` would find it. Downloads nothing."""
        if Path(self.path).exists():
            self.file(name)
            return
        try:
            hf_hub_download(self.path, name, dry_run=True)
        except (OSError, ValueError) as error:
            raise self._missing(name) from error

    def tokenizer(self, kind: Any) -> Any:
        # Without this check, transformers would return a tokenizer with an empty vocabulary.
        self.file(TOKENIZER)
        return self.pretrained(kind)

    def pretrained(self, kind: Any, **options: Any) -> Any:
        """A network or configuration, by the `from_pretrained` of transformers."""
        try:
            return kind.from_pretrained(self.path, **options)
        except OSError as error:
            raise self._missing(kind.__name__) from error

    def _missing(self, what: str) -> MissingWeights:
        return MissingWeights(
            f"{self.option} = {self.path}: found no {what} there, neither on this machine nor on the Hugging Face hub. "
            f"Download it from https://huggingface.co/{self.repository} and set {self.option} to its path"
        )


def read_weights(file: Path) -> Weights:
    """A state dict from a .safetensors file, or from a .pt file, where it may be nested under `state_dict`."""
    if file.suffix == ".safetensors":
        return load_file(file)
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    weights: Weights = loaded.get("state_dict", loaded)
    return weights


def load_exact(kind: Any, config: Any, weights: Weights, **options: Any) -> Any:
    """A transformers network with exactly these weights, in float32; a ValueError if any is missing or left over."""
    network, report = kind.from_pretrained(
        None, config=config, state_dict=weights, dtype=torch.float32, output_loading_info=True, **options
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            raise ValueError(f"the checkpoint does not match {kind.__name__}: {problem} {report[problem]}")
    return network


def strip_prefix(prefix: str, weights: Weights) -> Weights:
    """The weights whose names start with the prefix, with the prefix removed."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def count_blocks(blocks: str, weights: Weights) -> int:
    """The number of numbered blocks under this name."""
    numbers = (re.match(rf"{re.escape(blocks)}\.(\d+)\.", name) for name in weights)
    return len({number[1] for number in numbers if number})
