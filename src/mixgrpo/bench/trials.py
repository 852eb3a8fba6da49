"""What recipes learn, on development prompts: a trial is a recipe with changes, trained to its end.

    python -m mixgrpo.bench.trials TRIALS.json RESULTS.jsonl [--device cpu] [--prompts 800]

TRIALS.json maps names to recipes with overrides, "RECIPE key=value ...". Each evaluation is appended to the results, a
line each. Several processes may work on the same files: each takes a trial that nobody has and that has not come to its
end, so that what was interrupted can be taken up again.
"""

import argparse
import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mixgrpo.data.prompts import Prompt
from mixgrpo.data.sources import train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.recipe.load import load_recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.runs.evaluation import evaluate, per_kind
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.generation import images_of
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer

_DEVELOPMENT_SEED = 1_000_003
"""Of the training stream, which no run trains on."""
_EVALUATIONS = 2


def development_prompts(count: int) -> list[Prompt]:
    return [*train_prompts("scenes", _DEVELOPMENT_SEED, count)]


def trial(changes: str, device: torch.device, prompts: list[Prompt]) -> Iterator[dict[str, Any]]:
    """What is known at each evaluation."""
    source, *overrides = changes.split()
    recipe = load_recipe(source, overrides)
    policy = make_policy(load_model(recipe.model, device), recipe)
    trained_on = train_prompts(recipe.prompts.train, recipe.seed, recipe.iterations * recipe.rollout.prompts)
    trainer = Trainer(recipe, policy, find_rewards(recipe.rewards), trained_on)
    spent, skipped = 0.0, 0
    for done in range(1, recipe.iterations + 1):
        begin = time.perf_counter()
        metrics = trainer.iterate()
        spent += time.perf_counter() - begin
        skipped += metrics["skipped_groups"]
        if done * _EVALUATIONS % recipe.iterations < _EVALUATIONS:
            with trainer.policy.weights.averaged():
                accuracy = _evaluated(trainer, prompts)
            yield {
                "iterations": done,
                "of": recipe.iterations,
                "seconds": spent,
                "skipped": skipped / done / recipe.rollout.prompts,
                "grad_norm": metrics["grad_norm"],
                "accuracy": accuracy,
            }


def _evaluated(trainer: Trainer, prompts: list[Prompt]) -> dict[str, float]:
    """Strict accuracy by kind, of averaged weights, with the evaluation's steps and noise of its own."""
    noise = KeyedNoise(7, 0, trainer.model.latent_shape)
    with trainer.precision():
        images = images_of(
            trainer.model, trainer.encode, prompts, noise, steps=trainer.recipe.evaluation.steps, micro_batch=100
        )
        scores = evaluate(
            images, prompts, {"scenes-strict": trainer.rewards["scenes-strict"]}, trainer.recipe.scoring
        ).scores["scenes-strict"]
    return {kind: estimate.mean for kind, estimate in per_kind(scores, prompts).items()}


@contextmanager
def claimed(name: str, results: Path) -> Iterator[bool]:
    """Whether nobody else has it. A claim ends with its process."""
    locks = results.with_suffix(".locks")
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def finished(name: str, results: Path) -> bool:
    lines = map(json.loads, results.read_text(encoding="utf-8").splitlines()) if results.is_file() else ()
    return any(line["name"] == name and line["iterations"] == line["of"] for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trials", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=800)
    options = parser.parse_args()
    prompts = development_prompts(options.prompts)
    for name, changes in json.loads(options.trials.read_text(encoding="utf-8")).items():
        with claimed(name, options.results) as ours:
            if not ours or finished(name, options.results):
                continue
            for point in trial(changes, torch.device(options.device), prompts):
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"name": name, "changes": changes, **point}) + "\n")
                print(f"{name} {point['iterations']} {100 * point['accuracy']['overall']:.1f}", flush=True)


if __name__ == "__main__":
    main()
