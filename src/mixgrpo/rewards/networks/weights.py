"""Published weights: where they are, and how they are read. Nothing that a file holds is ever executed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor

Weights = dict[str, Tensor]


class MissingWeights(FileNotFoundError):
    """Weights that are not on this machine: which, where to get them, which option says where they are."""


@dataclass(frozen=True)
class Source:
    """Where an option says that weights are: a local path, or a repository of the Hugging Face hub."""

    option: str
    path: str
    home: str  # the repository that publishes them

    def file(self, name: str) -> Path:
        """The path itself, or the file of that name in the folder or repository."""
        local = Path(self.path)
        if local.is_file():
            return local
        if local.is_dir():
            if not (local / name).is_file():
                raise self._missing(name)
            return local / name
        try:
            return Path(hf_hub_download(self.path, name))
        except (OSError, ValueError) as error:  # offline, no such repository, or no name of one
            raise self._missing(name) from error

    def tokenizer(self, kind: Any) -> Any:
        # Without one, transformers would make a tokenizer that knows no word.
        self.file("tokenizer.json")
        return self.pretrained(kind)

    def pretrained(self, kind: Any, **options: Any) -> Any:
        """A network or a configuration of transformers."""
        try:
            return kind.from_pretrained(self.path, **options)
        except OSError as error:
            raise self._missing(kind.__name__) from error

    def _missing(self, what: str) -> MissingWeights:
        return MissingWeights(
            f"{self.option} = {self.path}: found no {what} there, neither on this machine nor on the Hugging Face hub. "
            f"Get it from https://huggingface.co/{self.home} and set {self.option} to where it lies"
        )


def read(file: Path) -> Weights:
    """A state dict, from safetensors or from a .pt that may wrap it in `state_dict`."""
    if file.suffix == ".safetensors":
        return load_file(file)
    loaded = torch.load(file, map_location="cpu", weights_only=True)
    weights: Weights = loaded.get("state_dict", loaded)
    return weights


def filled(kind: Any, config: Any, weights: Weights, **options: Any) -> Any:
    """A network of transformers with exactly these weights, in float32."""
    network, report = kind.from_pretrained(
        None, config=config, state_dict=weights, dtype=torch.float32, output_loading_info=True, **options
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            raise ValueError(f"the checkpoint is not the {kind.__name__} it should be: {problem} {report[problem]}")
    return network


def under(prefix: str, weights: Weights) -> Weights:
    """Those whose names begin so, without the beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def depth(blocks: str, weights: Weights) -> int:
    """How many numbered blocks there are under this name."""
    numbers = (re.match(rf"{re.escape(blocks)}\.(\d+)\.", name) for name in weights)
    return len({number[1] for number in numbers if number})
