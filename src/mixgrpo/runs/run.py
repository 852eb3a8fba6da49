"""A run from start to end: a folder, evaluations, checkpoints, progress, and a clean stop on request."""

import json
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from mixgrpo.data.prompts import Prompt, spread
from mixgrpo.data.sources import evaluation_prompts, train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training import checkpoint
from mixgrpo.training.generation import images_of
from mixgrpo.training.policy import make_policy
from mixgrpo.training.scoring import to_pil
from mixgrpo.training.trainer import Metrics, Trainer
from mixgrpo.training.weights import TrainingStopped

from .diagnosis import exploded
from .evaluation import evaluate, per_kind
from .export import export
from .folder import RunFolder
from .preflight import preflight
from .progress import RECENT, Progress
from .sheet import Tile, sheet
from .trackers import TRACKERS, Tracker, flat

_SAMPLES = 16  # images shown of each evaluation
_SAMPLE_COLUMNS = 4


def start(recipe: Recipe, folder: Path) -> None:
    """Begin a new run."""
    RunFolder(folder).create(recipe)
    _train_from_folder(recipe, folder)


def resume(folder: Path) -> None:
    """Continue a run from its last checkpoint, exactly as if it had never stopped."""
    _train_from_folder(RunFolder(folder).load_recipe(), folder)


def _train_from_folder(recipe: Recipe, folder: Path) -> None:
    rewards = find_rewards(recipe.rewards)
    prompts = train_prompts(recipe.prompts.train, recipe.seed, recipe.iterations * recipe.rollout.prompts)
    evaluated_on = evaluation_prompts(recipe.prompts.evaluation)
    policy = make_policy(load_model(recipe.model, distributed.device()), recipe)
    Run(Trainer(recipe, policy, rewards, prompts), evaluated_on, RunFolder(folder)).run()


class Run:
    def __init__(self, trainer: Trainer, evaluated_on: Sequence[Prompt], folder: RunFolder) -> None:
        self.trainer, self.folder = trainer, folder
        self.evaluated_on = spread(evaluated_on, trainer.recipe.evaluation.prompts)
        if len(self.evaluated_on) < distributed.world_size():
            raise ValueError(
                f"{len(self.evaluated_on)} evaluation prompts: must be at least {distributed.world_size()}, the number "
                "of processes, because each draws a share of them"
            )
        self.progress = Progress(trainer.recipe)
        self.recent: deque[Metrics] = deque(maxlen=RECENT)
        self.trackers: dict[str, Tracker] = {}

    def run(self) -> None:
        try:
            self._run()
        except torch.OutOfMemoryError as error:
            raise TrainingStopped(
                f"out of memory in iteration {self.trainer.iteration}: {error}\nLower rollout.micro_batch, now "
                f"{self.trainer.recipe.rollout.micro_batch}, or set update.gradient_checkpointing=true or tune=lora."
            ) from error

    def _run(self) -> None:
        trainer, recipe = self.trainer, self.trainer.recipe
        newest = checkpoint.latest(self.folder.checkpoints)
        if newest is not None:
            trainer.restore(checkpoint.load(newest))
        self.recent.extend(line for line in self.folder.lines() if line["iteration"] < trainer.iteration)
        if distributed.rank() == 0:
            self.folder.drop_from(trainer.iteration)
            self.trackers = {name: TRACKERS[name](recipe, self.folder) for name in recipe.trackers}
        with _stop_requests() as stop:
            if trainer.iteration == 0:
                self._preflight()
                self._save()
            stopping = False
            while trainer.iteration < recipe.iterations and not stopping:
                metrics = trainer.iterate()
                stopping = any(distributed.gather(stop.is_set()))
                done = trainer.iteration
                if recipe.evaluation.every and done % recipe.evaluation.every == 0 and done < recipe.iterations:
                    self._evaluate_start()
                    metrics["evaluation"] = self._evaluate(done)
                self._record(metrics)
                if why := exploded(self.recent):
                    raise TrainingStopped(f"{why}; the last checkpoint is from before.")
                if done % recipe.save.every == 0 or done == recipe.iterations or stopping:
                    self._save()
        for tracker in self.trackers.values():
            tracker.close()
        if trainer.iteration < recipe.iterations:
            self.progress.say(f"stopped after iteration {trainer.iteration}: mixgrpo resume {self.folder.path}")
            return
        if distributed.rank() == 0:
            export(trainer, self.folder)
        before = self._evaluate_start()
        after = self._evaluate(trainer.iteration)
        if distributed.rank() == 0:
            self.progress.finish(self.folder.path, before, after)

    def _preflight(self) -> None:
        for finding in preflight(self.trainer, self.evaluated_on):
            self.progress.found(finding)
            if not finding.ok:
                raise TrainingStopped(f"Preflight failed: {finding.what}: no ({finding.detail}).")

    def _record(self, metrics: Metrics) -> None:
        self.recent.append(metrics)
        if distributed.rank() != 0:
            return
        self.folder.append(metrics)
        self.progress.show([*self.recent])
        for name in [*self.trackers]:
            try:
                self.trackers[name].log(metrics["iteration"], flat(metrics))
            except Exception as error:  # whatever an external service raises: training goes on without it
                self.progress.say(f"tracker {name} failed and is not used any more: {error}")
                del self.trackers[name]

    def _save(self) -> None:
        if distributed.rank() == 0:
            keep_start = not self.folder.evaluation(0).is_file()
            checkpoint.save(self.folder.checkpoints, self.trainer.snapshot(), self.trainer.recipe.save.keep, keep_start)

    def _evaluate_start(self) -> dict[str, Any]:
        """The model before training, from its checkpoint. Made when there is something to compare with, so that the
        first iteration does not wait for it.
        """
        first, file = distributed.rank() == 0, self.folder.evaluation(0)
        known = json.loads(file.read_text(encoding="utf-8"))["rewards"] if first and file.is_file() else None
        result: dict[str, Any] | None = distributed.gather(known)[0]
        if result is not None:
            return result
        start = checkpoint.load_weights(self.folder.checkpoints / checkpoint.name_of(0)) if first else {}
        with self.trainer.policy.weights.with_weights(start):
            return self._draw_and_score(0)

    def _evaluate(self, iteration: int) -> dict[str, Any]:
        with self.trainer.policy.weights.averaged():
            return self._draw_and_score(iteration)

    def _draw_and_score(self, iteration: int) -> dict[str, Any]:
        """Rewards on the evaluation prompts per kind, and a sheet of images: always the same prompts and noise."""
        trainer, recipe, begin = self.trainer, self.trainer.recipe, time.perf_counter()
        local = distributed.local_range(len(self.evaluated_on))
        prompts = [self.evaluated_on[i] for i in local]
        shown = spread(range(len(self.evaluated_on)), _SAMPLES)
        with trainer.precision():
            images = images_of(
                trainer.model,
                trainer.encode,
                prompts,
                KeyedNoise(recipe.seed, 0, trainer.model.latent_shape),
                steps=recipe.evaluation.steps,
                micro_batch=recipe.rollout.micro_batch,
                prompt_ids=local,
            )
            show = [i - local.start for i in shown if i in local]
            overlap = recipe.speed.overlap_rewards
            evaluation = evaluate(images, prompts, trainer.rewards, recipe.scoring, overlap=overlap, show=show)
            per_rank = distributed.gather(evaluation)
        scores = {name: torch.cat([part.scores[name] for part in per_rank]) for name in trainer.rewards}
        result = {
            name: {kind: estimate.mean for kind, estimate in per_kind(values, self.evaluated_on).items()}
            for name, values in scores.items()
        }
        if distributed.rank() == 0:
            frames = [to_pil(image) for part in per_rank for _, image in sorted(part.shown.items())]
            tiles = [Tile(image, self.evaluated_on[i].text) for i, image in zip(shown, frames, strict=True)]
            self.folder.samples.mkdir(exist_ok=True)
            sheet(tiles, _SAMPLE_COLUMNS).save(self.folder.samples / f"{checkpoint.name_of(iteration)}.png")
            text = json.dumps({"iteration": iteration, "rewards": result}, indent=2)
            self.folder.evaluation(iteration).write_text(text + "\n", encoding="utf-8")
            self.progress.evaluated(iteration, result, time.perf_counter() - begin)
        return result


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM request a stop after the current iteration; a second one stops at once."""
    requested = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
