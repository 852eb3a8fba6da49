"""A run from start to end: a folder, evaluations, checkpoints, progress, and a clean stop on request."""

import math
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import torch
from torch.distributed import ProcessGroup

from mixgrpo.data.prompts import Prompt
from mixgrpo.data.sources import evaluation_prompts, train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import check_rewards
from mixgrpo.rewards.reward import Interactive, automatic
from mixgrpo.training.metrics import Metrics
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer
from mixgrpo.training.weights import TrainingStopped

from .bar import ERASE_LINE, waiting
from .callbacks import Callback
from .checkpoints import name_of
from .continuation import CannotContinue, check_changes, find_checkpoint, other_processes
from .diagnosis import exploded
from .evaluation import weighted_total
from .evaluations import EvaluationCut, Evaluations, Means
from .export import export
from .folder import Best, RunFolder
from .preflight import preflight
from .progress import RECENT, Progress
from .requests import heard
from .stopping import StopRequests
from .trackers import Trackers
from .writing import Writing


def start(recipe: Recipe, folder: Path, callbacks: Sequence[Callback] = ()) -> None:
    """Begin a new run."""
    with RunFolder(folder).new_run(recipe):
        resume(recipe, folder, callbacks)


def start_or_continue(recipe: Recipe, folder: Path, callbacks: Sequence[Callback] = ()) -> None:
    """For launchers, which after a failure start the same command again."""
    (resume if RunFolder(folder).begun() else start)(recipe, folder, callbacks)


def resume(recipe: Recipe, folder: Path, callbacks: Sequence[Callback] = ()) -> None:
    """Continue the run in this folder from its newest complete checkpoint, exactly as if it had never stopped."""
    rewards = check_rewards(recipe.rewards)
    if recipe.evaluation.best and recipe.evaluation.best not in automatic(rewards):
        raise ValueError(
            f"evaluation.best = {recipe.evaluation.best!r}: has no part in evaluations; name another reward"
        )
    prompts = train_prompts(recipe.prompts.train, recipe.seed, recipe.iterations * recipe.rollout.prompts)
    evaluated_on = evaluation_prompts(recipe.prompts.evaluation)
    run_folder = RunFolder(folder)
    with waiting(f"loading {recipe.model.path}", quiet=distributed.rank() != 0):
        policy = make_policy(load_model(recipe.model), recipe, run_folder.adapter(), device=distributed.device())
    Run(Trainer(recipe, policy, rewards, prompts), evaluated_on, run_folder, callbacks).run()


class Run:
    def __init__(
        self,
        trainer: Trainer,
        evaluated_on: Sequence[Prompt],
        folder: RunFolder,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.trainer, self.folder, self.callbacks = trainer, folder, callbacks
        self.progress = Progress(trainer.recipe)
        trainer.on_stage = self.progress.bar.stage
        self.recent: deque[Metrics] = deque(maxlen=RECENT)
        self.trackers = Trackers(self.progress.say)
        self.stops = StopRequests()
        self.evaluations = Evaluations(trainer, evaluated_on, folder, self.progress, self.trackers, self.stops)
        self._saved: int | None = None
        """The iteration of the newest checkpoint."""
        self._being_saved: int | None = None
        self._writing: Writing

    def evaluate(self) -> Means:
        """Of the model as it is now, by reward and kind of prompt."""
        return self._evaluate()

    def stop(self) -> None:
        """After the current iteration."""
        self.stops.ask()

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
            stack.callback(self.stops.forget)  # whoever goes on in Python may train and evaluate
            stack.enter_context(self.stops.by_signals(quiet=not first, before=ERASE_LINE * self.progress.bar.shown))
            if first:
                stack.enter_context(self.folder.lock())
            self._writing = stack.enter_context(closing(Writing()))
            self._continue()
            if first:
                stack.enter_context(self.trackers.open(self.trainer.recipe, self.folder))
            for reward in self.trainer.rewards.values():
                if isinstance(reward, Interactive):
                    self.progress.say(stack.enter_context(reward.opened(self.folder.path)))
            stack.enter_context(self.progress.bar.on())
            self.progress.bar.done(self.trainer.iteration)
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
        facts = checkpoints.facts(iteration)
        changed = check_changes(facts["recipe"], trainer.recipe.model_dump(mode="json"))
        trainer.restore(checkpoints.load(iteration, trainer.room))
        self._saved = iteration
        self.progress.say(
            f"continuing from iteration {iteration}"
            + other_processes(facts["processes"], distributed.world_size())
            + (f"; changed: {', '.join(changed)}" if changed else "")
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
            if not self._preflight():
                self.progress.say("stopped before the first iteration")
                return False
            self._begin_to_save()
        with suppress(EvaluationCut):
            self._make_up_for_a_cut_evaluation()
        # Also of a signal between two iterations: the one that is done is the last, or the one that has just begun.
        with self.stops.until("after this iteration"):
            while trainer.iteration < recipe.iterations and not self._stop_asked():
                self._iterate()
        if trainer.iteration < recipe.iterations:
            for callback in self.callbacks:
                callback.on_stop_requested(self)
            if self._saved != trainer.iteration:
                self._begin_to_save()
            self._finish_saving()
            self.progress.say(
                f"stopped after iteration {trainer.iteration}. Continue: mixgrpo resume {self.folder.path}\n"
                f"The result so far: mixgrpo export {self.folder.path}"
            )
        return trainer.iteration >= recipe.iterations

    def _iterate(self) -> None:
        """One iteration, with the evaluation and the checkpoint that are due after it."""
        trainer, recipe = self.trainer, self.trainer.recipe
        metrics = trainer.iterate()
        self._finish_saving()
        done = trainer.iteration
        best = None
        if self.evaluations.due_after(done) or (done < recipe.iterations and self._evaluation_asked()):
            with suppress(EvaluationCut):
                metrics["evaluation"] = self._evaluate_on_the_way()
                best = self._better(done, metrics["evaluation"])
        self._record(metrics)
        if why := exploded(self.recent):
            raise TrainingStopped(
                f"{why}. The last checkpoint is from before: `mixgrpo resume {self.folder.path} "
                "update.learning_rate=...` continues from it."
            )
        if done % recipe.save.every == 0 or done == recipe.iterations or best:
            self._begin_to_save(best)

    def _stop_asked(self) -> bool:
        """By a signal, by Python, or from outside."""
        if distributed.rank() == 0 and heard(self.folder.path, "stop"):
            self.progress.say("stopping: it was asked for from outside")
            self.stops.ask()
        return self.stops.anywhere()

    def _evaluation_asked(self) -> bool:
        return distributed.anywhere(distributed.rank() == 0 and heard(self.folder.path, "evaluate"))

    def _preflight(self) -> bool:
        """False if it was asked to stop."""
        self.progress.bar.stage("preflight")
        with self.stops.until("before the first iteration"):
            for finding in preflight(self.trainer, self.evaluations.prompts):
                self.progress.found(finding)
                if not finding.ok:
                    raise TrainingStopped(f"Preflight failed: {finding.what}: no ({finding.detail}).")
                if self.stops.anywhere():
                    return False
        return True

    def _evaluate_on_the_way(self) -> Means:
        before, now = self._evaluate_start(), self._evaluate()
        self.progress.compared(before, now)
        return now

    def _make_up_for_a_cut_evaluation(self) -> None:
        """As if it had been made in time."""
        done = self.trainer.iteration
        if not self.evaluations.due_after(done) or not self.recent or "evaluation" in self.recent[-1]:
            return
        metrics = self.recent[-1]
        metrics["evaluation"] = evaluation = self._evaluate_on_the_way()
        if distributed.rank() == 0:
            self.folder.drop_from(metrics["iteration"])
            self.folder.append(metrics)
            self.trackers.log_evaluation(metrics["iteration"], evaluation)
            if best := self._better(done, evaluation):
                self.folder.write_best(best)

    def _finish(self) -> None:
        trainer = self.trainer
        self._finish_saving()
        self.progress.bar.stage("exporting")
        with self.stops.until("after the export"):
            self.export(self.folder)
        try:
            before, after = self._evaluate_start(), self._evaluate()
        except EvaluationCut:
            self.progress.say(
                f"stopped before the last evaluation; training and export are done. Evaluate: mixgrpo resume "
                f"{self.folder.path}"
            )
            return
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

    def _begin_to_save(self, new_best: Best | None = None) -> None:
        """Of the state as it is now. It is written while the next iteration is run."""
        trainer, folder, best = self.trainer, self.folder, new_best or self.folder.best()
        spare = {best.iteration} if best else set()
        if not folder.evaluation(0).is_file():
            spare.add(0)
        state, recipe = trainer.snapshot().copied(), trainer.recipe.model_dump(mode="json")

        def write(group: ProcessGroup | None) -> None:
            folder.checkpoints.save(state, recipe, trainer.recipe.save.keep, spare, group)
            if new_best is not None and distributed.rank() == 0:
                folder.write_best(new_best)

        self._writing.begin(write)
        self._saved = self._being_saved = trainer.iteration

    def _finish_saving(self) -> None:
        saved, self._being_saved = self._being_saved, None
        if saved is None:
            return
        self._writing.finish()
        for callback in self.callbacks:
            callback.on_save(self, self.folder.checkpoints.path / name_of(saved))

    def _better(self, iteration: int, evaluation: Means) -> Best | None:
        """None if an earlier iteration was at least as good."""
        by = {name: weight for name, weight in self.trainer.recipe.best_by.items() if name in evaluation}
        if not by:  # somebody is asked in training, and nothing judges evaluations
            return None
        best = self.folder.best()
        value = weighted_total(evaluation, by)
        # A resumed run may judge by another reward; then the earlier value says nothing.
        better = best is None or best.by != by or value > best.value
        return Best(iteration, value, by) if better and math.isfinite(value) else None

    def _evaluate_start(self) -> Means:
        """Made when there is something to compare with, so that the first iteration does not wait for it."""
        if (known := self.evaluations.known_at_start()) is not None:
            return known
        return self._told(0, self.evaluations.at_start())

    def _evaluate(self) -> Means:
        return self._told(self.trainer.iteration, self.evaluations.now())

    def _told(self, iteration: int, result: Means) -> Means:
        for callback in self.callbacks:
            callback.on_evaluation(self, iteration, result)
        return result
