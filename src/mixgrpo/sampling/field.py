"""What sampling needs from a model: a velocity field, and the conditioning of each prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """The model's inputs for each prompt: text embeddings, image tokens, or whatever else its adapter names.

    `per_prompt` tensors have one row per prompt. `common` tensors are shared by all prompts and have a single row, such
    as the embedding of the empty prompt.
    """

    per_prompt: dict[str, Tensor]
    common: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.per_prompt.values())))

    @property
    def device(self) -> torch.device:
        return next(iter(self.per_prompt.values())).device

    def __getitem__(self, rows: Tensor) -> "Conditioning":
        """The conditioning of these prompts, in this order, with repeats."""
        return Conditioning({name: tensor[rows] for name, tensor in self.per_prompt.items()}, self.common)


class VelocityField(Protocol):
    """All that a rollout needs of a model."""

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        """v(x, sigma) with guidance, in float32 and differentiable. One row of each argument per sample."""


def joined(parts: Sequence[Conditioning]) -> Conditioning:
    """Several conditionings as one. Texts of different lengths are padded, and `mask` marks the real tokens."""
    rows = [part.per_prompt for part in parts]
    if any("mask" in row for row in rows) or len({row["embeds"].shape[1] for row in rows if "embeds" in row}) > 1:
        rows = [
            row if "mask" in row else {**row, "mask": torch.ones_like(row["embeds"][..., 0]).long()} for row in rows
        ]
    return Conditioning({name: _stacked([row[name] for row in rows]) for name in rows[0]}, parts[0].common)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Row after row, padded with zeros to the longest second dimension."""
    longest = max(tensor.shape[1] for tensor in tensors)
    return torch.cat([_padded(tensor, longest).to(tensors[0].dtype) for tensor in tensors])


def _padded(tensor: Tensor, length: int) -> Tensor:
    missing = length - tensor.shape[1]
    if not missing:
        return tensor
    other_dimensions = [0, 0] * (tensor.dim() - 2)
    return torch.nn.functional.pad(tensor, [*other_dimensions, 0, missing])
