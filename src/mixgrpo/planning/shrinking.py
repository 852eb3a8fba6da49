"""Of blocks that are alike, two stand for all: a trace then takes seconds, whatever the depth."""

from collections.abc import Callable, Collection, Iterator

import torch
from torch import nn


class Shrunk:
    """The parts of a pipeline, without the blocks in the middle of each row of blocks that are alike."""

    def __init__(self, parts: Collection[nn.Module], repeated: Collection[str]) -> None:
        """`repeated`: names of the lists of blocks, at any depth."""
        self.blocks: dict[nn.Module, int] = {}
        """For how many blocks each of those that are left stands, itself included."""
        for part in parts:
            for module in [*part.modules()]:
                for name, blocks in [*module.named_children()]:
                    if name in repeated and isinstance(blocks, nn.ModuleList):
                        setattr(module, name, nn.ModuleList(self._ends(blocks)))

    def _ends(self, blocks: nn.ModuleList) -> Iterator[nn.Module]:
        """The first and the last of each kind. The last stands for the others, because the first may hold what it makes
        for all.
        """
        kinds: dict[object, list[nn.Module]] = {}
        for block in blocks:
            shapes = tuple((name, parameter.shape) for name, parameter in block.named_parameters())
            kinds.setdefault(shapes, []).append(block)
        for alike in kinds.values():
            first, last = alike[0], alike[-1]
            if first is not last:
                self.blocks[first] = 1
                yield first
            self.blocks[last] = len(alike) - (first is not last)
            yield last

    def bytes(
        self,
        part: nn.Module,
        *,
        trained: bool | None = None,
        size: Callable[[torch.Tensor], int] = lambda tensor: tensor.nbytes,
    ) -> int:
        """Of its weights with all its blocks; of those that are trained, or are not."""
        return self._sum(part, trained, size)

    def elements(self, part: nn.Module, *, trained: bool | None = None) -> int:
        return self._sum(part, trained, torch.Tensor.numel)

    def _sum(self, part: nn.Module, trained: bool | None, size: Callable[[torch.Tensor], int]) -> int:
        def of(module: nn.Module) -> int:
            return sum(size(p) for p in module.parameters() if trained is None or p.requires_grad == trained)

        return of(part) + sum((self.blocks.get(module, 1) - 1) * of(module) for module in part.modules())
