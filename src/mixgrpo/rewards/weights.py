"""Published weights: where they are, and how they are read. Nothing that a file holds is ever executed."""

import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor

Weights = dict[str, Tensor]


class MissingWeights(FileNotFoundError):
    """Weights that are not on this machine: which, where to get them, which option says where they are."""

    def __init__(self, option: str, path: str, what: str) -> None:
        super().__init__(
            f"{option} = {path}: found no {what} there. It is neither a local path that has it nor a repository of the "
            f"Hugging Face hub that could be reached or is in the cache. Get it from https://huggingface.co/{path}, or "
            f"set {option} to where it lies"
        )


def published_file(option: str, path: str, name: str) -> Path:
    """A local file, the file of that name in a local folder, or the one in a repository of the hub."""
    if Path(path).is_file():
        return Path(path)
    if Path(path).is_dir():
        if (Path(path) / name).is_file():
            return Path(path) / name
        raise MissingWeights(option, path, name)
    try:
        return Path(hf_hub_download(path, name))
    except (OSError, ValueError) as error:  # offline, no such repository, or no name of one
        raise MissingWeights(option, path, name) from error


def from_pretrained(kind: Any, option: str, path: str, **options: Any) -> Any:
    """Anything of transformers, from a local folder or the hub."""
    try:
        return kind.from_pretrained(path, **options)
    except OSError as error:
        raise MissingWeights(option, path, kind.__name__) from error


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
