"""The evaluations of a run: always the same prompts and noise, so that they can be compared."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt, spread
from mixgrpo.parallel import distributed
from mixgrpo.rewards.reward import automatic
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.generation import images_of, without_padding
from mixgrpo.training.scoring import to_pil
from mixgrpo.training.trainer import Trainer

from . import diversity
from .atomic import save_image, write_json
from .checkpoints import name_of
from .evaluation import Evaluation, evaluate, joined, per_kind
from .folder import RunFolder
from .progress import Progress
from .sheet import Tile, sheet
from .stopping import StopRequests
from .trackers import Trackers

_SAMPLES = 16  # images shown of each evaluation
_SAMPLE_COLUMNS = 4

Part = TypeVar("Part")

Means = dict[str, Any]
"""By reward and kind of prompt."""


class EvaluationCut(Exception):
    """A signal came: nothing of this evaluation is written. It may be long, and the resumed run makes it."""


class Evaluations:
    def __init__(
        self,
        trainer: Trainer,
        prompts: Sequence[Prompt],
        folder: RunFolder,
        progress: Progress,
        trackers: Trackers,
        stops: StopRequests,
    ) -> None:
        self.prompts = spread(prompts, trainer.recipe.evaluation.prompts)
        if not self.prompts:
            raise ValueError("0 evaluation prompts: there must be one at least")
        self._trainer, self._folder, self._progress, self._trackers = trainer, folder, progress, trackers
        self._stops = stops

    def due_after(self, done: int) -> bool:
        """Whether there is one on the way after so many iterations."""
        every = self._trainer.recipe.evaluation.every
        return bool(every) and 0 < done < self._trainer.recipe.iterations and done % every == 0

    def known_at_start(self) -> Means | None:
        """Of the model before training, if it has been evaluated."""
        file = self._folder.evaluation(0)
        known = None
        if distributed.rank() == 0 and file.is_file():
            known = json.loads(file.read_text(encoding="utf-8"))["rewards"]
        result: Means | None = distributed.gather(known)[0]
        return result

    def at_start(self) -> Means:
        """Of the model before training, from its checkpoint."""
        weights = self._trainer.policy.weights
        with weights.set_aside():
            self._folder.checkpoints.load(0, weights.room, kind="weight/")
            result = self._draw_and_score(0)
        self._trackers.log_evaluation(0, result)
        return result

    def now(self) -> Means:
        """Of the model as it is, and with averaged weights if there are any."""
        with self._trainer.policy.weights.averaged():
            return self._draw_and_score(self._trainer.iteration)

    def _draw_and_score(self, iteration: int) -> Means:
        """Rewards on the evaluation prompts per kind, and a sheet of images."""
        trainer, recipe, begin = self._trainer, self._trainer.recipe, time.perf_counter()
        local = distributed.local_range(len(self.prompts))
        drawn = distributed.padded(local, len(self.prompts)) if trainer.policy.sharded else [*local]
        prompts, rewards = [self.prompts[i] for i in local], automatic(trainer.rewards)
        shown = spread(range(len(self.prompts)), _SAMPLES)
        with trainer.precision(), self._stops.until("without waiting for this evaluation"):
            images = images_of(
                trainer.model,
                trainer.encode,
                [self.prompts[i] for i in drawn],
                KeyedNoise(recipe.seed, 0, trainer.model.latent_shape),
                steps=recipe.evaluation.steps,
                micro_batch=recipe.rollout.micro_batch,
                prompt_ids=drawn,
            )
            show = [i - local.start for i in shown if i in local]
            overlap = recipe.speed.overlap_rewards
            own: Evaluation | None = None
            with suppress(EvaluationCut):
                wanted = without_padding(self._until_a_signal(images, f"of {len(drawn)} evaluated"), len(local))
                own = evaluate(wanted, prompts, rewards, recipe.scoring, overlap=overlap, show=show)
            evaluation = joined(_of_all(own), rewards)
            apart = self._diversity()
        result = {
            name: {kind: estimate.mean for kind, estimate in per_kind(values, self.prompts).items()}
            for name, values in evaluation.scores.items()
        }
        result[diversity.NAME] = {"overall": apart}
        if distributed.rank() == 0:
            tiles = [Tile(to_pil(evaluation.shown[i]), self.prompts[i].text) for i in shown]
            self._folder.samples.mkdir(exist_ok=True)
            file = self._folder.samples / f"{name_of(iteration)}.png"
            save_image(file, sheet(tiles, _SAMPLE_COLUMNS))
            self._trackers.log_samples(iteration, file)
            write_json(self._folder.evaluation(iteration), {"iteration": iteration, "rewards": result})
            self._progress.evaluated(iteration, result, time.perf_counter() - begin)
        return result

    def _diversity(self) -> float:
        """Of some prompts, drawn several times each."""
        trainer, recipe = self._trainer, self._trainer.recipe
        prompts = spread(self.prompts, diversity.PROMPTS)
        local = distributed.local_range(len(prompts))
        drawn = distributed.padded(local, len(prompts)) if trainer.policy.sharded else [*local]
        images = images_of(
            trainer.model,
            trainer.encode,
            diversity.repeated([prompts[i] for i in drawn]),
            KeyedNoise(recipe.seed, 0, trainer.model.latent_shape),
            steps=recipe.evaluation.steps,
            micro_batch=recipe.rollout.micro_batch,
            prompt_ids=[i * diversity.IMAGES + n for i in drawn for n in range(diversity.IMAGES)],
        )
        own: Tensor | None = None
        with suppress(EvaluationCut):
            count = len(drawn) * diversity.IMAGES
            pixels = [batch.cpu() for _, batch in self._until_a_signal(images, f"of {count} drawn for their diversity")]
            own = diversity.distances(torch.cat(pixels))[: len(local)] if pixels else torch.zeros(0)
        return torch.cat(_of_all(own)).mean().item()

    def _until_a_signal(self, images: Iterable[tuple[range, Tensor]], what: str) -> Iterator[tuple[range, Tensor]]:
        together = self._trainer.policy.sharded  # then no process may go on without the others
        for batch in images:
            self._progress.bar.stage(f"{batch[0].stop} {what}")
            if distributed.anywhere(self._stops.signalled) if together else self._stops.signalled:
                raise EvaluationCut
            yield batch


def _of_all(own: Part | None) -> list[Part]:
    """By rank. All processes give up together: one that was not signalled has made its share for nothing."""
    per_rank = distributed.gather(own)
    made = [part for part in per_rank if part is not None]
    if len(made) < len(per_rank):
        raise EvaluationCut
    return made
