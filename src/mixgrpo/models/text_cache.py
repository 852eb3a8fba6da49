"""Text embeddings on disk: each prompt goes through the text encoders once, in this run or in any other.

A file a prompt, named by what decides its content: the encoders, the number of tokens, the prompt. The folder is
bounded; what was not asked for the longest goes first.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad

from .base import Conditioning, FlowModel

_SAMPLED = 8  # values of each tensor that tell encoders apart
Row = dict[str, Tensor]


class TextCache:
    def __init__(self, model: FlowModel, folder: Path, limit_bytes: int) -> None:
        self._model, self._folder, self._limit = model, folder, limit_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._key = _fingerprint(model)
        self._common: Row | None = None
        self._size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        """As the model would, each prompt by itself."""
        rows = {prompt: self._row(prompt) for prompt in dict.fromkeys(prompts)}
        if self._common is None:
            self._common = self._model.encode(prompts[:1]).common
        return Conditioning(joined([rows[prompt] for prompt in prompts]), self._common)

    def _row(self, prompt: str) -> Row:
        path = self._folder / f"{hashlib.sha256((self._key + prompt).encode()).hexdigest()}.safetensors"
        device = next(self._model.transformer.parameters()).device
        try:
            os.utime(path)  # asked for now
            return load_file(path, device=str(device))
        except FileNotFoundError:
            told = self._model.encode([prompt])
            self._common = told.common
            self._write(path, told.per_prompt)
            return told.per_prompt

    def _write(self, path: Path, row: Row) -> None:
        # Written aside and renamed: another process may be reading, or writing the same.
        aside = path.with_suffix(f".{os.getpid()}.part")
        save_file({name: tensor.contiguous().cpu() for name, tensor in row.items()}, aside)
        aside.replace(path)
        self._size += path.stat().st_size
        if self._size > self._limit:
            self._size = self._forget()

    def _forget(self) -> int:
        """The oldest, until a tenth is free; what is left."""
        files = sorted(self._folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        left = sum(path.stat().st_size for path in files)
        for path in files:
            if left <= 0.9 * self._limit:
                break
            left -= path.stat().st_size
            path.unlink(missing_ok=True)
        return left


def joined(rows: Sequence[Row]) -> Row:
    """One under the other. Texts of different length are filled up, and a mask says which tokens are real."""
    if all(row.keys() == rows[0].keys() and _lengths(row) == _lengths(rows[0]) for row in rows):
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    masked = [row if "mask" in row else {**row, "mask": torch.ones_like(row["embeds"][..., 0]).long()} for row in rows]
    longest = max(row["embeds"].shape[1] for row in masked)
    return {
        name: torch.cat([_filled(row[name], longest).to(masked[0][name].dtype) for row in masked]) for name in masked[0]
    }


def _lengths(row: Row) -> dict[str, int]:
    return {name: tensor.shape[1] for name, tensor in row.items()}


def _filled(tensor: Tensor, longest: int) -> Tensor:
    beyond = [0, 0] * (tensor.dim() - 2)
    return pad(tensor, [*beyond, 0, longest - tensor.shape[1]])


def _fingerprint(model: FlowModel) -> str:
    digest = hashlib.sha256(f"{type(model).__name__} {model.stock_options.get('max_sequence_length')}".encode())
    for part in _encoders(model):
        for name, parameter in part.named_parameters():
            values = parameter.detach().flatten()[:_SAMPLED].float().cpu()
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {values.tolist()}".encode())
    return digest.hexdigest()


def _encoders(model: FlowModel) -> Iterator[nn.Module]:
    for name, part in sorted(model.pipeline.components.items()):
        if name.startswith("text_encoder") and isinstance(part, nn.Module):
            yield part
