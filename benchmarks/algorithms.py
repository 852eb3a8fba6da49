"""What each algorithm makes of the same time: the tiny model, the same prompts, grid and rewards, held-out accuracy.

Published ones are meant whole, on the grid of `scenes`. Each trains for so many seconds of iterations, and is then
compared with where it began, prompt by prompt from the same noise. All are batched, and compute once what a group
shares. They learn on even terms, at one rate for all that credit noise and a higher one for what credits pictures.
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from mixgrpo.bench.setup import EVEN_TERMS
from mixgrpo.data.prompts import evaluation_prompts, train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.runs.evaluation import draw_pictures, per_kind, score
from mixgrpo.training.trainer import Trainer

SECONDS = 180.0
_BY_NOISE = [*EVEN_TERMS, "update.learning_rate=4e-4"]
_BY_PICTURE = [*EVEN_TERMS, "update.learning_rate=8e-4"]
_PUBLISHED = ("flowgrpo", "dancegrpo", "mixgrpo", "mixgrpo-flash")
RUNS = {
    "scenes": ("scenes", _BY_PICTURE),
    "scenes-flash": ("scenes-flash", _BY_NOISE),
    **{name: ("scenes", [f"algorithm={name}", *_BY_NOISE]) for name in _PUBLISHED},
}
REWARD = "scenes-strict"
RESULTS = Path(__file__).parent / "results" / "algorithms.json"
PROMPTS = evaluation_prompts("scenes")


def accuracy(trainer: Trainer) -> Tensor:
    recipe = trainer.recipe
    with trainer.averaged(), trainer.precision():
        pictures = draw_pictures(
            trainer.model,
            PROMPTS,
            steps=recipe.evaluation.steps,
            seed=recipe.seed,
            micro_batch=recipe.rollout.micro_batch,
        )
    return score(pictures, PROMPTS, {REWARD: trainer.rewards[REWARD]}, recipe.scoring)[REWARD]


def trainer_of(recipe: Recipe) -> Trainer:
    prompts = train_prompts("scenes", recipe.seed, recipe.iterations * recipe.rollout.prompts)
    return Trainer(recipe, load_model(recipe.model), find_rewards(recipe.rewards), prompts)


def train(trainer: Trainer) -> float:
    spent = 0.0
    while spent < SECONDS:
        begin = time.perf_counter()
        trainer.iterate()
        spent += time.perf_counter() - begin
    return spent


def main() -> None:
    before = accuracy(trainer_of(load_recipe("scenes")))
    rows: dict[str, Any] = {}
    for name, (recipe, overrides) in RUNS.items():
        trainer = trainer_of(load_recipe(recipe, overrides))
        seconds = train(trainer)
        gains = per_kind(accuracy(trainer) - before, PROMPTS)
        rows[name] = {
            "iterations": trainer.iteration,
            "seconds": seconds,
            "gain": {kind: asdict(gain) for kind, gain in gains.items()},
        }
        overall = gains["overall"]
        print(
            f"{name:14} {trainer.iteration:4} iterations  {overall.mean:+.1%} +- {overall.half_width:.1%}", flush=True
        )
        text = json.dumps({"command": "make bench-algorithms", "before": before.mean().item(), "runs": rows}, indent=2)
        RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
