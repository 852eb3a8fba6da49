"""A run from start to end: a folder, evaluations, checkpoints, progress, and a clean stop on request."""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from mixgrpo.data.prompts import Prompt, spread
from mixgrpo.data.sources import evaluation_prompts, train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import check_rewards
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.generation import images_of, without_padding
from mixgrpo.training.policy import make_policy
from mixgrpo.training.scoring import to_pil
from mixgrpo.training.trainer import Metrics, Trainer
from mixgrpo.training.weights import TrainingStopped

from .atomic import save_image, write_json
from .callbacks import Callback
from .checkpoints import name_of
from .continuation import CannotContinue, check_changes, find_checkpoint
from .diagnosis import exploded
from .evaluation import evaluate, per_kind, weighted_total
from .export import export
from .folder import Best, RunFolder
from .preflight import preflight
from .progress import RECENT, Progress
from .sheet import Tile, sheet
from .stopping import stop_requests
from .trackers import Trackers

_SAMPLES = 16  # images shown of each evaluation
_SAMPLE_COLUMNS = 4


def start(recipe: Recipe, folder: Path) -> None:
    """Begin a new run."""
    with RunFolder(folder).new_run(recipe):
        _train_from_folder(recipe, folder)


def resume(folder: Path, overrides: list[str] | None = None) -> None:
    """Continue a run from its newest complete checkpoint, exactly as if it had never stopped. `overrides`: changes to
    its recipe.
    """
    _train_from_folder(RunFolder(folder).load_recipe(overrides), folder)


def _train_from_folder(recipe: Recipe, folder: Path) -> None:
    rewards = check_rewards(recipe.rewards)
    prompts = train_prompts(recipe.prompts.train, recipe.seed, recipe.iterations * recipe.rollout.prompts)
    evaluated_on = evaluation_prompts(recipe.prompts.evaluation)
    run_folder = RunFolder(folder)
    policy = make_policy(load_model(recipe.model, distributed.device()), recipe, run_folder.adapter())
    Run(Trainer(recipe, policy, rewards, prompts), evaluated_on, run_folder).run()


class Run:
    def __init__(
        self,
        trainer: Trainer,
        evaluated_on: Sequence[Prompt],
        folder: RunFolder,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.trainer, self.folder, self.callbacks = trainer, folder, callbacks
        self.evaluated_on = spread(evaluated_on, trainer.recipe.evaluation.prompts)
        if len(self.evaluated_on) < distributed.world_size():
            raise ValueError(
                f"{len(self.evaluated_on)} evaluation prompts: must be at least {distributed.world_size()}, the number "
                "of processes, because each draws a share of them"
            )
        self.progress = Progress(trainer.recipe)
        self.recent: deque[Metrics] = deque(maxlen=RECENT)
        self.trackers = Trackers(self.progress.say)
        self._stop = threading.Event()

    def evaluate(self) -> dict[str, Any]:
        """Of the model as it is now, by reward and kind of prompt."""
        return self._evaluate(self.trainer.iteration)

    def stop(self) -> None:
        """After the current iteration, as a signal would."""
        self._stop.set()

    def export(self, folder: RunFolder) -> list[Path]:
        """Write the model as it is now for diffusers, with averaged weights if there are any, in the recipe's dtype.
        All processes call this.
        """
        trainer = self.trainer
        with trainer.policy.weights.averaged():
            dtype = getattr(torch, trainer.recipe.model.dtype)
            return export(trainer.model, folder, lora=trainer.recipe.tune == "lora", dtype=dtype)

    def run(self) -> None:
        """To the last iteration, or until a stop is requested."""
        first = distributed.rank() == 0
        with ExitStack() as stack:
            stack.callback(self.trainer.scorer.close)
            stack.enter_context(stop_requests(self._stop, quiet=not first))
            if first:
                stack.enter_context(self.folder.lock())
            self._continue()
            if first:
                stack.enter_context(self.trackers.open(self.trainer.recipe, self.folder))
            try:
                for callback in self.callbacks:
                    callback.on_start(self)
                finished = self._train()
            except torch.OutOfMemoryError as error:
                raise TrainingStopped(
                    f"out of memory in iteration {self.trainer.iteration}: {error}\nLower rollout.micro_batch, now "
                    f"{self.trainer.recipe.rollout.micro_batch}, or set update.gradient_checkpointing=true or tune=lora"
                ) from error
            if finished:
                self._finish()

    def _continue(self) -> None:
        """From the newest complete checkpoint, which all processes must see."""
        trainer, checkpoints = self.trainer, self.folder.checkpoints
        found = find_checkpoint(self.folder) if distributed.rank() == 0 else (None, [])
        iteration, said = distributed.gather(found)[0]
        for sentence in said:
            self.progress.say(sentence)
        if iteration is None:
            return
        if not all(distributed.gather(iteration in checkpoints.iterations())):
            raise CannotContinue(
                f"some processes do not see checkpoint {name_of(iteration)} in {checkpoints.path}: the run's folder "
                "must be on a disk that all nodes share"
            )
        changed = check_changes(checkpoints.facts(iteration)["recipe"], trainer.recipe.model_dump(mode="json"))
        trainer.restore(checkpoints.load(iteration, trainer.policy.weights.room))
        self.progress.say(
            f"continuing from iteration {iteration}" + (f"; changed: {', '.join(changed)}" if changed else "")
        )
        lines, _ = self.folder.lines()
        self.recent.extend(line for line in lines if line["iteration"] < iteration)
        if distributed.rank() == 0:
            checkpoints.set_aside_after(iteration)
            self.folder.drop_from(iteration)
            self.folder.write_recipe(trainer.recipe)

    def _train(self) -> bool:
        """Whether the last iteration is done."""
        trainer, recipe = self.trainer, self.trainer.recipe
        if trainer.iteration == 0 and not self.folder.checkpoints.iterations():
            for finding in preflight(trainer, self.evaluated_on):
                self.progress.found(finding)
                if not finding.ok:
                    raise TrainingStopped(f"Preflight failed: {finding.what}: no ({finding.detail}).")
                if any(distributed.gather(self._stop.is_set())):
                    self.progress.say("stopped before the first iteration")
                    return False
            self._save()
        stopping = False
        while trainer.iteration < recipe.iterations and not stopping:
            metrics = trainer.iterate()
            done = trainer.iteration
            best = None
            if recipe.evaluation.every and done % recipe.evaluation.every == 0 and done < recipe.iterations:
                self._evaluate_start()
                metrics["evaluation"] = self._evaluate(done)
                best = self._better(done, metrics["evaluation"])
            self._record(metrics)
            stopping = any(distributed.gather(self._stop.is_set()))
            if stopping:
                for callback in self.callbacks:
                    callback.on_stop_requested(self)
            if why := exploded(self.recent):
                raise TrainingStopped(
                    f"{why}. The last checkpoint is from before: `mixgrpo resume {self.folder.path} "
                    "update.learning_rate=...` continues from it."
                )
            if done % recipe.save.every == 0 or done == recipe.iterations or stopping or best:
                self._save(best)
        if trainer.iteration < recipe.iterations:
            self.progress.say(
                f"stopped after iteration {trainer.iteration}. Continue: mixgrpo resume {self.folder.path}\n"
                f"The result so far: mixgrpo export {self.folder.path}"
            )
        return trainer.iteration >= recipe.iterations

    def _finish(self) -> None:
        trainer = self.trainer
        self.export(self.folder)
        before = self._evaluate_start()
        after = self._evaluate(trainer.iteration)
        self.trackers.log_evaluation(trainer.iteration, after)
        if distributed.rank() == 0 and (best := self._better(trainer.iteration, after)):
            self.folder.write_best(best)
        self.progress.finish(self.folder.path, before, after)

    def _record(self, metrics: Metrics) -> None:
        self.recent.append(metrics)
        if distributed.rank() == 0:
            self.folder.append(metrics)
            self.progress.show([*self.recent])
            self.trackers.log(metrics)
        for callback in self.callbacks:
            callback.on_iteration_end(self, metrics)

    def _save(self, new_best: Best | None = None) -> None:
        self._write_checkpoint(new_best)
        for callback in self.callbacks:
            callback.on_save(self, self.folder.checkpoints.path / name_of(self.trainer.iteration))

    def _write_checkpoint(self, new_best: Best | None) -> None:
        trainer, best = self.trainer, new_best or self.folder.best()
        spare = {best.iteration} if best else set()
        if not self.folder.evaluation(0).is_file():
            spare.add(0)
        recipe = trainer.recipe.model_dump(mode="json")
        self.folder.checkpoints.save(trainer.snapshot(), recipe, trainer.recipe.save.keep, spare)
        if new_best is not None and distributed.rank() == 0:
            self.folder.write_best(new_best)

    def _better(self, iteration: int, evaluation: dict[str, Any]) -> Best | None:
        """None if an earlier iteration was at least as good."""
        by, best = self.trainer.recipe.best_by, self.folder.best()
        value = weighted_total(evaluation, by)
        # A resumed run may judge by another reward; then the earlier value says nothing.
        better = best is None or best.by != by or value > best.value
        return Best(iteration, value, by) if better and math.isfinite(value) else None

    def _evaluate_start(self) -> dict[str, Any]:
        """The model before training, from its checkpoint. Made when there is something to compare with, so that the
        first iteration does not wait for it.
        """
        first, file = distributed.rank() == 0, self.folder.evaluation(0)
        known = json.loads(file.read_text(encoding="utf-8"))["rewards"] if first and file.is_file() else None
        result: dict[str, Any] | None = distributed.gather(known)[0]
        if result is not None:
            return result
        weights = self.trainer.policy.weights
        with weights.set_aside():
            self.folder.checkpoints.load(0, weights.room, kind="weight/")
            result = self._draw_and_score(0)
        self.trackers.log_evaluation(0, result)
        return result

    def _evaluate(self, iteration: int) -> dict[str, Any]:
        with self.trainer.policy.weights.averaged():
            return self._draw_and_score(iteration)

    def _draw_and_score(self, iteration: int) -> dict[str, Any]:
        """Rewards on the evaluation prompts per kind, and a sheet of images: always the same prompts and noise."""
        trainer, recipe, begin = self.trainer, self.trainer.recipe, time.perf_counter()
        local = distributed.local_range(len(self.evaluated_on))
        drawn = distributed.padded(local, len(self.evaluated_on)) if trainer.policy.sharded else [*local]
        prompts = [self.evaluated_on[i] for i in local]
        shown = spread(range(len(self.evaluated_on)), _SAMPLES)
        with trainer.precision():
            images = images_of(
                trainer.model,
                trainer.encode,
                [self.evaluated_on[i] for i in drawn],
                KeyedNoise(recipe.seed, 0, trainer.model.latent_shape),
                steps=recipe.evaluation.steps,
                micro_batch=recipe.rollout.micro_batch,
                prompt_ids=drawn,
            )
            show = [i - local.start for i in shown if i in local]
            overlap = recipe.speed.overlap_rewards
            own = without_padding(images, len(local))
            evaluation = evaluate(own, prompts, trainer.rewards, recipe.scoring, overlap=overlap, show=show)
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
            file = self.folder.samples / f"{name_of(iteration)}.png"
            save_image(file, sheet(tiles, _SAMPLE_COLUMNS))
            self.trackers.log_samples(iteration, file)
            write_json(self.folder.evaluation(iteration), {"iteration": iteration, "rewards": result})
            self.progress.evaluated(iteration, result, time.perf_counter() - begin)
        for callback in self.callbacks:
            callback.on_evaluation(self, iteration, result)
        return result
