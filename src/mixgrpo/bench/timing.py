"""One iteration, part by part: seconds, rows that went through the model, peak memory."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.data.prompts import batch
from mixgrpo.recipe.schema import Recipe

from .peak import Peak
from .setup import Ground

_TIMES, _WARM_UP = 15, 5


@dataclass(frozen=True)
class Lap:
    rollout: float
    decode: float
    reward: float
    update: float
    rollout_rows: int
    update_rows: int
    peak_bytes: int | None

    @property
    def model_seconds(self) -> float:
        """What the algorithm decides; pictures and their rewards cost the same under each."""
        return self.rollout + self.update

    @property
    def seconds(self) -> float:
        return self.rollout + self.decode + self.reward + self.update

    @property
    def peak_mib(self) -> float | None:
        return None if self.peak_bytes is None else self.peak_bytes / 2**20


def lap(ground: Ground, recipe: Recipe, iteration: int, memory: bool = False) -> Lap:
    """The parts one after the other, the update on every group: of equal rewards, which are skipped in training, one
    contender would have more than another. `memory`: measure its peak, from a trimmed heap, which costs time.
    """
    trainer = ground.trainer(recipe)
    trainer.iteration = iteration
    model, size = trainer.model, recipe.rollout.group_size
    prompts = batch(trainer.prompts, iteration, recipe.rollout.prompts, recipe.seed)
    images = [prompt for prompt in prompts for _ in range(size)]
    told = trainer.encode([prompt.text for prompt in prompts])
    finished: list[tuple[slice, Tensor]] = []
    peak = Peak(ground.device) if memory else None
    clock = Clock(ground.device)
    with _rows(model.transformer) as rows:
        plan = recipe.plan_at(iteration, trainer.grid)
        sampled = trainer.sample(plan, told, range(len(prompts)), lambda part, x: finished.append((part, x)))
        rollout, rollout_rows = clock.lap(), sum(rows)
        rows.clear()
        with trainer.precision():
            pictures = [(part, model.decode(latents)) for part, latents in finished]
        decode = clock.lap()
        for part, drawn in pictures:
            trainer.scorer.submit(drawn, images[part])
        trainer.scorer.collect()
        reward = clock.lap()
        advantage = torch.randn(len(images), generator=torch.Generator().manual_seed(iteration))
        groups = [[*range(n * size, (n + 1) * size)] for n in range(len(prompts))]
        trainer.update(sampled, told, advantage, range(len(prompts)), groups)
        update = clock.lap()
    return Lap(rollout, decode, reward, update, rollout_rows, sum(rows), peak.bytes() if peak else None)


class Clock:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = self._now()

    def lap(self) -> float:
        before, self._last = self._last, self._now()
        return self._last - before

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def median_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Of some runs, after a few that warm up."""
    for _ in range(_WARM_UP):
        run()
    clock, laps = Clock(device), []
    for _ in range(_TIMES):
        run()
        laps.append(clock.lap())
    return statistics.median(laps)


@contextmanager
def _rows(transformer: torch.nn.Module) -> Iterator[list[int]]:
    """The rows of every call while inside."""
    rows: list[int] = []
    handle = transformer.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    try:
        yield rows
    finally:
        handle.remove()
