"""A run from start to end: a folder, evaluations, checkpoints, progress, and a clean stop when asked for one."""

import json
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from peft import get_peft_model_state_dict
from PIL import Image

from mixgrpo.data.prompts import Prompt, evaluation_prompts, spread, train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.rewards.reward import Reward
from mixgrpo.training import checkpoint
from mixgrpo.training.scoring import to_pil
from mixgrpo.training.trainer import Metrics, Trainer, TrainingStopped

from .diagnosis import exploded
from .evaluation import draw_pictures, per_kind, score
from .folder import RunFolder
from .preflight import preflight
from .progress import RECENT, Progress
from .trackers import TRACKERS, Tracker, flat

_SAMPLES = 16


def start(recipe: Recipe, folder: Path) -> None:
    """Begin a new run."""
    RunFolder(folder).create(recipe)
    _go_on(recipe, folder)


def resume(folder: Path) -> None:
    """Continue a run from its last checkpoint, exactly as if it had never stopped."""
    _go_on(RunFolder(folder).load_recipe(), folder)


def _go_on(recipe: Recipe, folder: Path) -> None:
    rewards = find_rewards(recipe.rewards)
    prompts = train_prompts(recipe.prompts.train, recipe.seed, recipe.iterations * recipe.rollout.prompts)
    evaluated_on = evaluation_prompts(recipe.prompts.evaluation)
    model = load_model(recipe.model, distributed.device())
    Run(Trainer(recipe, model, rewards, prompts), rewards, evaluated_on, RunFolder(folder)).go()


class Run:
    def __init__(
        self, trainer: Trainer, rewards: Mapping[str, Reward], evaluated_on: Sequence[Prompt], folder: RunFolder
    ) -> None:
        self.trainer, self.rewards, self.folder = trainer, rewards, folder
        self.evaluated_on = spread(evaluated_on, trainer.recipe.evaluation.prompts)
        if len(self.evaluated_on) < distributed.world_size():
            raise ValueError(
                f"{len(self.evaluated_on)} evaluation prompts: must be at least {distributed.world_size()}, the number "
                "of processes, because each draws its share"
            )
        self.progress = Progress(trainer.recipe)
        self.recent: deque[Metrics] = deque(maxlen=RECENT)
        self.trackers: dict[str, Tracker] = {}

    def go(self) -> None:
        try:
            self._go()
        except torch.OutOfMemoryError as error:
            raise TrainingStopped(
                f"out of memory in iteration {self.trainer.iteration}: {error}\nLower rollout.micro_batch, now "
                f"{self.trainer.recipe.rollout.micro_batch}; or set update.checkpointing=true, or tune=lora."
            ) from error

    def _go(self) -> None:
        trainer, recipe = self.trainer, self.trainer.recipe
        newest = checkpoint.latest(self.folder.checkpoints)
        if newest is not None:
            trainer.restore(checkpoint.load(newest))
        self.recent.extend(line for line in self.folder.lines() if line["iteration"] < trainer.iteration)
        if distributed.rank() == 0:
            self.folder.forget_after(trainer.iteration)
            self.trackers = {name: TRACKERS[name](recipe, self.folder) for name in recipe.trackers}
        with _stop_requests() as stop:
            if trainer.iteration == 0:
                for finding in preflight(trainer):
                    self.progress.found(finding)
                    if not finding.fits:
                        raise TrainingStopped(f"preflight: {finding.what}: no. {finding.detail}")
                self._look(trainer.iteration)
                self._save()
            stopping = False
            while trainer.iteration < recipe.iterations and not stopping:
                metrics = trainer.iterate()
                stopping = any(distributed.gather(stop.is_set()))
                done = trainer.iteration
                if recipe.evaluation.every and done % recipe.evaluation.every == 0 and done < recipe.iterations:
                    metrics["evaluation"] = self._look(done)
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
        after = self._look(trainer.iteration)
        if distributed.rank() == 0:
            before = json.loads((self.folder.path / "evaluation-000000.json").read_text(encoding="utf-8"))
            export(trainer, self.folder)
            self.progress.finish(self.folder.path, before, after)

    def _record(self, metrics: Metrics) -> None:
        self.recent.append(metrics)
        if distributed.rank() != 0:
            return
        self.folder.append(metrics)
        self.progress.show([*self.recent])
        for name in [*self.trackers]:
            try:
                self.trackers[name].log(metrics["iteration"], flat(metrics))
            except Exception as error:  # whatever an outside service raises: training goes on without it
                self.progress.say(f"tracker {name} failed and is left out from here on: {error}")
                del self.trackers[name]

    def _save(self) -> None:
        if distributed.rank() == 0:
            checkpoint.save(self.folder.checkpoints, self.trainer.snapshot(), self.trainer.recipe.save.keep)

    def _look(self, iteration: int) -> dict[str, Any]:
        """Rewards on the evaluation prompts per kind, and pictures of the same prompts from the same noise as ever."""
        recipe, begin = self.trainer.recipe, time.perf_counter()
        own = distributed.own(len(self.evaluated_on))
        prompts = [self.evaluated_on[i] for i in own]
        with self.trainer.averaged(), self.trainer.precision():
            images = draw_pictures(
                self.trainer.model,
                prompts,
                steps=recipe.evaluation.steps,
                seed=recipe.seed,
                micro_batch=recipe.rollout.micro_batch,
                prompt_ids=own,
            )
        shown = range(0, len(self.evaluated_on), max(1, len(self.evaluated_on) // _SAMPLES))[:_SAMPLES]
        pictures = [image.cpu() for i, image in zip(own, images, strict=True) if i in shown]
        everyone = distributed.gather((score(images, prompts, self.rewards, recipe.scoring), pictures))
        scores = {name: torch.cat([part[name] for part, _ in everyone]) for name in self.rewards}
        result = {
            name: {kind: estimate.mean for kind, estimate in per_kind(values, self.evaluated_on).items()}
            for name, values in scores.items()
        }
        if distributed.rank() != 0:
            return result
        self.folder.samples.mkdir(exist_ok=True)
        _grid([image for _, part in everyone for image in part]).save(self.folder.samples / f"{iteration:06}.png")
        text = json.dumps({"iteration": iteration, "rewards": result}, indent=2)
        (self.folder.path / f"evaluation-{iteration:06}.json").write_text(text + "\n", encoding="utf-8")
        self.progress.evaluated(iteration, result, time.perf_counter() - begin)
        return result


def export(trainer: Trainer, folder: RunFolder) -> None:
    """The result, as diffusers reads it."""
    with trainer.averaged():
        transformer = trainer.model.transformer
        if trainer.recipe.tune == "full":
            for parameter in transformer.parameters():  # trained in float32, used in what the pipeline computes in
                parameter.data = parameter.data.to(getattr(torch, trainer.recipe.model.dtype))
            transformer.save_pretrained(folder.transformer)
        else:
            layers = {name: tensor.contiguous() for name, tensor in get_peft_model_state_dict(transformer).items()}
            type(trainer.model.pipeline).save_lora_weights(
                folder.lora,
                transformer_lora_layers=layers,
                # Without it a reader takes alpha for the rank.
                transformer_lora_adapter_metadata=transformer.peft_config["default"].to_dict(),
            )


def _grid(images: Sequence[torch.Tensor]) -> Image.Image:
    pictures = to_pil(torch.stack([*images]))
    columns = max(1, round(len(pictures) ** 0.5))
    width, height = pictures[0].size
    grid = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    for i, picture in enumerate(pictures):
        grid.paste(picture, (i % columns * width, i // columns * height))
    return grid


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM ask for a stop after the iteration that is running; a second one stops at once."""
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
