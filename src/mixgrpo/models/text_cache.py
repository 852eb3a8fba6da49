"""Prompts to conditioning, in batches of bounded size and, if asked, cached on disk.

In the cache each prompt has a file, named by what decides its content: the encoders, the number of tokens and the
prompt. The folder has a size limit; the least recently used files are deleted first.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.sections import SpeedConfig
from mixgrpo.sampling.field import Conditioning, joined

from .base import FlowModel
from .resting import text_encoders

Encode = Callable[[Sequence[Prompt]], Conditioning]

_SAMPLED = 8  # values of each tensor that tell encoders apart


def encoder_of(model: FlowModel, settings: SpeedConfig, batch: int) -> Encode:
    """At most `batch` prompts per call of the text encoders."""
    if settings.text_cache is not None:
        return TextCache(model, Path(settings.text_cache), int(settings.text_cache_gib * 2**30)).encode

    def encode(prompts: Sequence[Prompt]) -> Conditioning:
        with model.with_text_encoders():
            return joined([model.encode(prompts[i : i + batch]) for i in range(0, len(prompts), batch)])

    return encode


class TextCache:
    """Prompts are encoded one by one, so that a file does not depend on the batch it was made in."""

    def __init__(self, model: FlowModel, folder: Path, limit_bytes: int) -> None:
        self._model, self._folder, self._limit = model, folder, limit_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._key = _fingerprint(model)
        self._common: dict[str, Tensor] | None = None
        self._size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    def encode(self, prompts: Sequence[Prompt]) -> Conditioning:
        rows = {prompt.text: self._row(prompt) for prompt in {prompt.text: prompt for prompt in prompts}.values()}
        if self._common is None:
            self._common = self._model.encode(prompts[:1]).common
        return joined([Conditioning(rows[prompt.text], self._common) for prompt in prompts])

    def _row(self, prompt: Prompt) -> dict[str, Tensor]:
        path = self._folder / f"{hashlib.sha256((self._key + prompt.text).encode()).hexdigest()}.safetensors"
        try:
            os.utime(path)  # mark it as recently used
            return load_file(path, device=str(self._model.device))
        except FileNotFoundError:
            conditioning = self._model.encode([prompt])
            self._common = conditioning.common
            self._write(path, conditioning.per_prompt)
            return conditioning.per_prompt

    def _write(self, path: Path, row: dict[str, Tensor]) -> None:
        # To a temporary file that is then renamed: another process may be reading, or writing the same.
        temporary = path.with_suffix(f".{os.getpid()}.part")
        save_file({name: tensor.contiguous().cpu() for name, tensor in row.items()}, temporary)
        temporary.replace(path)
        self._size += path.stat().st_size
        if self._size > self._limit:
            self._size = self._evict()

    def _evict(self) -> int:
        """Delete the least recently used files until a tenth of the limit is free. Returns the size that is left."""
        files = sorted(self._folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        left = sum(path.stat().st_size for path in files)
        for path in files:
            if left <= 0.9 * self._limit:
                break
            left -= path.stat().st_size
            path.unlink(missing_ok=True)
        return left


def _fingerprint(model: FlowModel) -> str:
    name = type(model.pipeline).__name__
    digest = hashlib.sha256(f"{name} {model.stock_options.get('max_sequence_length')}".encode())
    for part in text_encoders(model.pipeline):
        for name, parameter in part.named_parameters():
            values = parameter.detach().flatten()[:_SAMPLED].float().cpu()
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype} {values.tolist()}".encode())
    return digest.hexdigest()
