"""The trained weights: gradients summed over processes, clipped, applied; and their moving average."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mixgrpo.parallel import distributed
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
        distributed.sum_tensors(gradients)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self._settings.max_grad_norm).item()
        if not math.isfinite(norm):
            raise TrainingStopped(
                f"the norm of the gradient is {norm}. Lower update.learning_rate, or use model.dtype float32."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._settings.ema_decay is not None:
            values = [parameter.detach() for parameter in self.parameters.values()]
            torch._foreach_lerp_([*self.average.values()], values, 1 - self._settings.ema_decay)
        return norm

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the averaged weights in place, if there is an average. The trained ones wait on the CPU."""
        trained = {name: self.parameters[name].detach().to("cpu", copy=True) for name in self.average}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(trained)

    @contextmanager
    def with_weights(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """With these weights in place. They need to be given to the first process only. The trained ones wait on the
        CPU.
        """
        trained = {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.parameters.items()}
        self._put(weights)
        distributed.broadcast_tensors(parameter.data for parameter in self.parameters.values())
        try:
            yield
        finally:
            self._put(trained)

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self.parameters[name].copy_(tensor)

    def snapshot(self, iteration: int) -> Snapshot:
        return take_snapshot(iteration, self.parameters, self.average, self.optimizer)

    def restore(self, state: Snapshot) -> None:
        self.optimizer.zero_grad()
        restore(state, self.parameters, self.average, self.optimizer)

    def reset(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to the tensors of an earlier snapshot, with a fresh optimizer."""
        self.restore(Snapshot(0, dict(tensors)))
