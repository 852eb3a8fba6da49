"""The cost of one iteration, part by part: seconds, rows through the model, peak memory."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from mixgrpo.data.prompts import batch
from mixgrpo.models.base import FlowModel
from mixgrpo.recipe.schema import Recipe
from mixgrpo.sampling.rollout import rollout
from mixgrpo.training.generation import Generation
from mixgrpo.training.trainer import Signal

from .peak import Peak
from .setup import BenchSetup

_REPETITIONS, _WARMUP = 15, 5


@dataclass(frozen=True)
class IterationTiming:
    rollout: float
    decode: float
    reward: float
    update: float
    rollout_rows: int
    update_rows: int
    peak_bytes: int | None

    @property
    def model_seconds(self) -> float:
        """The parts that the algorithm decides. Decoding and rewards cost the same under each."""
        return self.rollout + self.update

    @property
    def seconds(self) -> float:
        return self.rollout + self.decode + self.reward + self.update

    @property
    def peak_mib(self) -> float | None:
        return None if self.peak_bytes is None else self.peak_bytes / 2**20


def time_iteration(setup: BenchSetup, recipe: Recipe, iteration: int, memory: bool = False) -> IterationTiming:
    """The parts one after the other. The update takes all groups: training skips those of equal rewards, of which one
    algorithm may have more than another. `memory`: also measure the peak, which costs time.
    """
    trainer = setup.trainer(recipe)
    model, settings = trainer.model, recipe.rollout
    prompts = batch(trainer.prompts, iteration, settings.prompts, recipe.seed)
    prompt_of = [prompt for prompt in prompts for _ in range(settings.group_size)]
    plan, conditioning = trainer.plan_at(iteration), trainer.encode(prompts)
    peak = Peak(setup.device) if memory else None
    clock = Clock(setup.device)
    with _count_rows(model) as rows:
        with trainer.precision():
            sampled = rollout(
                model,
                plan,
                conditioning,
                trainer.noise_at(iteration),
                group_size=settings.group_size,
                micro_batch=settings.micro_batch,
                shared_noise=settings.shared_noise,
                share_computation=recipe.speed.share_computation,
            )
        rollout_seconds, rollout_rows = clock.split(), sum(rows)
        rows.clear()
        with trainer.precision():
            images = [model.decode(latents) for latents in torch.split(sampled.latents, settings.micro_batch)]
        decode_seconds = clock.split()
        for i, part in enumerate(images):
            start = i * settings.micro_batch
            trainer.scorer.submit(part, prompt_of[start : start + len(part)])
        trainer.scorer.collect()
        reward_seconds = clock.split()
        advantages = torch.randn(len(prompt_of), generator=torch.Generator().manual_seed(iteration))
        groups = torch.arange(len(prompt_of)).view(len(prompts), -1).tolist()
        trainer.update(iteration, Generation(sampled, conditioning), Signal(advantages, groups))
        update_seconds = clock.split()
    return IterationTiming(
        rollout_seconds,
        decode_seconds,
        reward_seconds,
        update_seconds,
        rollout_rows,
        sum(rows),
        None if peak is None else peak.bytes(),
    )


class Clock:
    """Waits for the device before it reads the time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = self._now()

    def split(self) -> float:
        """Seconds since the last split."""
        before, self._last = self._last, self._now()
        return self._last - before

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def median_seconds(run: Callable[[], object], device: torch.device) -> float:
    for _ in range(_WARMUP):
        run()
    clock, seconds = Clock(device), []
    for _ in range(_REPETITIONS):
        run()
        seconds.append(clock.split())
    return statistics.median(seconds)


@contextmanager
def _count_rows(model: FlowModel) -> Iterator[list[int]]:
    """The rows of each forward pass in this context."""
    rows: list[int] = []
    handles = [
        network.register_forward_pre_hook(
            lambda module, args, kwargs: rows.append(len(kwargs["hidden_states"])), with_kwargs=True
        )
        for network in model.networks.values()
    ]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()
