"""What each objective learns in the same time, each at settings of its own that were chosen with the same effort.

    tuning   every variant of every contender, a short training each, judged on development prompts
    contest  the best variant of each, several seeds, equal time, judged on held-out prompts

Every training is a line of a journal, so that what was interrupted is taken up again where it was. Several processes
may work on one journal.
"""

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mixgrpo.data.prompts import Prompt
from mixgrpo.data.sources import evaluation_prompts, train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.runs.evaluation import per_kind
from mixgrpo.training.trainer import Trainer

from .equal_terms import EvalPoint, interval, time_to
from .progress import Track
from .training import new_trainer, scores_of

_DEVELOPMENT_SEED, _DEVELOPMENT_PROMPTS = 1_000_003, 700
"""Of the training stream, which no run trains on."""
_EVALUATIONS = 5
_PROBED = 3  # iterations, of which the first warms up
_GAINS = (0.05, 0.10)


@dataclass(frozen=True)
class Contender:
    changes: str
    """A recipe, and what is changed in it."""
    tried: tuple[str, ...]
    """Further changes, of which one is chosen."""
    ours: bool = False


class Job(NamedTuple):
    key: str
    changes: str
    seed: int
    seconds: float
    held_out: bool


@dataclass(frozen=True)
class Effort:
    """The same for all contenders."""

    seconds: float = 300.0
    tuning_seconds: float = 120.0
    seeds: int = 3


def contenders(source: Path | None = None) -> dict[str, Contender]:
    """From a file, or those that are shipped. All must have as many variants."""
    text = (source or files("mixgrpo.bench") / "contenders.json").read_text(encoding="utf-8")
    entries = {name: Contender(**{**entry, "tried": tuple(entry["tried"])}) for name, entry in json.loads(text).items()}
    counts = {name: len(entry.tried) for name, entry in entries.items()}
    if len({*counts.values()}) != 1:
        raise ValueError(f"contenders: all must have as many variants, these have {counts}")
    for entry in entries.values():
        for variant in entry.tried:
            _recipe(f"{entry.changes} {variant}")
    return entries


class Journal:
    """Lines of evaluations, by the key of their training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def points(self, key: str) -> list[dict[str, Any]]:
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        return [line for line in map(json.loads, text.splitlines()) if line["key"] == key]

    def finished(self, key: str) -> bool:
        return any(point["iterations"] == point["of"] for point in self.points(key))

    def append(self, lines: Sequence[dict[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))

    @contextmanager
    def claimed(self, key: str) -> Iterator[bool]:
        """Whether nobody else works on it. A claim ends with its process."""
        locks = self.path.with_suffix(".locks")
        locks.mkdir(exist_ok=True)
        with (locks / key.replace("/", "-")).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def measure(
    entries: dict[str, Contender], effort: Effort, device: torch.device, journal: Journal, track: Track
) -> dict[str, Any]:
    for job in track([Job("start", "scenes", 0, 0.0, held_out=True), *tuning_jobs(entries, effort)]):
        _do(job, device, journal)
    for job in track(contest_jobs(entries, effort, journal)):
        _do(job, device, journal)
    return summary(entries, effort, journal)


def tuning_jobs(entries: dict[str, Contender], effort: Effort) -> list[Job]:
    return [
        Job(f"tuning/{name}/{number}", f"{entry.changes} {variant}", 0, effort.tuning_seconds, held_out=False)
        for name, entry in entries.items()
        for number, variant in enumerate(entry.tried)
    ]


def contest_jobs(entries: dict[str, Contender], effort: Effort, journal: Journal) -> list[Job]:
    """Seed by seed, so that a bench that is cut short has compared all."""
    return [
        Job(
            f"contest/{name}/{seed}",
            f"{entry.changes} {entry.tried[chosen(name, entry, journal)]}",
            seed,
            effort.seconds,
            held_out=True,
        )
        for seed in range(effort.seeds)
        for name, entry in entries.items()
    ]


def chosen(name: str, entry: Contender, journal: Journal) -> int:
    """The variant with the highest accuracy on development prompts."""
    ends = [journal.points(f"tuning/{name}/{number}")[-1]["accuracy"]["overall"] for number in range(len(entry.tried))]
    return max(range(len(ends)), key=ends.__getitem__)


def _do(job: Job, device: torch.device, journal: Journal) -> None:
    with journal.claimed(job.key) as ours:
        if ours and not journal.finished(job.key):
            journal.append([{"key": job.key, "changes": job.changes, **point} for point in training(job, device)])


def training(job: Job, device: torch.device) -> list[dict[str, Any]]:
    """What is known at each evaluation. The number of iterations is what fits into the time, from a few that are timed
    before: a learning rate that falls must know where it ends.
    """
    prompts = evaluation_prompts("scenes") if job.held_out else development_prompts()
    recipe = _recipe(job.changes, job.seed)
    iterations = 0 if job.seconds == 0 else max(1, round(job.seconds / _seconds_an_iteration(recipe, device)))
    if iterations:
        recipe = _recipe(job.changes, job.seed, iterations)
    trainer = _trainer(recipe, device)
    points, spent = [], 0.0
    for done in range(iterations + 1):
        due = done * _EVALUATIONS % max(1, iterations) < _EVALUATIONS
        if done == iterations or (due and done and job.held_out):
            points.append(
                {
                    "iterations": done,
                    "of": iterations,
                    "seconds": spent,
                    "images": done * recipe.rollout.prompts * recipe.rollout.group_size,
                    "accuracy": accuracy(trainer, prompts),
                }
            )
        if done < iterations:
            begin = time.perf_counter()
            trainer.iterate()
            spent += time.perf_counter() - begin
    return points


def development_prompts() -> list[Prompt]:
    return [*train_prompts("scenes", _DEVELOPMENT_SEED, _DEVELOPMENT_PROMPTS)]


def _recipe(changes: str, seed: int = 0, iterations: int | None = None) -> Recipe:
    source, *overrides = changes.split()
    known = [] if iterations is None else [f"iterations={iterations}"]
    return load_recipe(source, [*overrides, f"seed={seed}", *known])


def _trainer(recipe: Recipe, device: torch.device) -> Trainer:
    return new_trainer(recipe, load_model(recipe.model, device), find_rewards(recipe.rewards))


def _seconds_an_iteration(recipe: Recipe, device: torch.device) -> float:
    trainer = _trainer(recipe, device)
    trainer.iterate()
    begin = time.perf_counter()
    for _ in range(_PROBED - 1):
        trainer.iterate()
    return (time.perf_counter() - begin) / (_PROBED - 1)


def accuracy(trainer: Trainer, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Strict, by kind of prompt, of averaged weights if there are any."""
    with trainer.policy.weights.averaged():
        scores = scores_of(trainer, prompts, "scenes-strict")
    return {kind: estimate.mean for kind, estimate in per_kind(scores, prompts).items()}


def summary(entries: dict[str, Contender], effort: Effort, journal: Journal) -> dict[str, Any]:
    start = journal.points("start")[-1]["accuracy"]["overall"]
    rows = {}
    for name, entry in entries.items():
        runs = [journal.points(f"contest/{name}/{seed}") for seed in range(effort.seeds)]
        curves = [
            [
                EvalPoint(0.0, 0, start),
                *(EvalPoint(point["seconds"], point["iterations"], point["accuracy"]["overall"]) for point in run),
            ]
            for run in runs
        ]
        rows[name] = {
            "ours": entry.ours,
            "changes": runs[0][-1]["changes"],
            "gain": interval([curve[-1].reward - start for curve in curves]),
            "iterations": [curve[-1].iterations for curve in curves],
            "images": [run[-1]["images"] for run in runs],
            "seconds_to": {f"{gain:.2f}": [time_to(curve, start + gain) for curve in curves] for gain in _GAINS},
            "curves": [[point._asdict() for point in curve] for curve in curves],
        }
    return {"start": start, "seconds": effort.seconds, "tuning_seconds": effort.tuning_seconds, "contenders": rows}
