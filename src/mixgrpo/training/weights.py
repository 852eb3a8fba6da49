"""The trained weights: gradients summed over processes, clipped, applied; and their moving average.

Where they are sharded, everything here but the norm is done by each process on its own share.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import local, whole
from mixgrpo.recipe.sections import UpdateConfig

from .snapshot import Snapshot, restore, take_snapshot


class TrainingStopped(RuntimeError):
    """Training cannot go on, and why."""


def learning_rate(settings: UpdateConfig, iteration: int, iterations: int) -> float:
    """Of this iteration, of so many."""
    warmup = min(1.0, (iteration + 1) / settings.warmup_iterations) if settings.warmup_iterations else 1.0
    decay = 1 - iteration / iterations if settings.schedule == "linear" else 1.0
    return settings.learning_rate * min(warmup, decay)


class TrainedWeights:
    def __init__(self, parameters: dict[str, nn.Parameter], settings: UpdateConfig, fused: bool) -> None:
        self.parameters, self._settings = parameters, settings
        averaged = parameters if settings.ema_decay else {}
        self.average = {name: parameter.detach().clone() for name, parameter in averaged.items()}
        self.optimizer = torch.optim.AdamW(
            parameters.values(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=fused,
        )

    def step(self, rate: float) -> float:
        """One optimizer step on the accumulated gradients, then clear them. Returns their norm before clipping."""
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        # Those of shares were summed in the backward pass.
        distributed.sum_tensors(gradient for gradient in gradients if not isinstance(gradient, DTensor))
        total_norm = whole(nn.utils.get_total_norm(gradients))
        nn.utils.clip_grads_with_norm_(self.parameters.values(), self._settings.max_grad_norm, total_norm)
        norm = total_norm.item()
        if not math.isfinite(norm):
            raise TrainingStopped(
                f"the norm of the gradient is {norm}. Lower update.learning_rate, or use model.dtype float32."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._settings.ema_decay is not None:
            values = _shares(self.parameters.values())
            torch._foreach_lerp_(_shares(self.average.values()), values, 1 - self._settings.ema_decay)
        return norm

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the averaged weights in place, if there is an average."""
        if not self.average:
            yield
            return
        with self.set_aside():
            for name, tensor in self.average.items():
                self.parameters[name].detach().copy_(tensor)
            yield

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Others may be put in place. The trained ones wait on the CPU and come back afterwards."""
        shares = _shares(self.parameters.values())
        trained = [share.to("cpu", copy=True) for share in shares]
        try:
            yield
        finally:
            for share, kept in zip(shares, trained, strict=True):
                share.copy_(kept)

    def snapshot(self, iteration: int) -> Snapshot:
        return take_snapshot(iteration, self.parameters, self.average, self.optimizer)

    def restore(self, state: Snapshot) -> None:
        self.optimizer.zero_grad()
        restore(state, self.parameters, self.average, self.optimizer)

    def room(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Where a tensor of a snapshot is read to: weights and their average in place, moments beside the optimizer."""
        kind, _, name = name.partition("/")
        if kind == "weight":
            return self.parameters[name].detach()
        if kind == "average":
            return self.average[name]
        parameter = self.parameters[name.rpartition("/")[0]].detach()
        return torch.zeros_like(parameter) if parameter.shape == shape else torch.zeros(shape, dtype=dtype)

    def reset(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to the tensors of an earlier snapshot, with a fresh optimizer."""
        self.restore(Snapshot(0, dict(tensors)))


def _shares(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [local(tensor.detach()) for tensor in tensors]
