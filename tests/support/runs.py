"""Small trainings on the tiny random-weight FLUX, for tests and for the processes that tests start."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import adapt
from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import resolve
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.reward import Reward
from mixgrpo.training.trainer import Trainer

PROMPTS = ["a red circle", "two blue squares", "CAT", "a star above a ring"]


def brightness(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    return [float(np.asarray(image).mean() / 255) for image in images]


def small_recipe(**sections: Any) -> Recipe:
    settings: dict[str, Any] = {
        "description": "",
        "iterations": 6,
        "model": {"path": "given", "dtype": "float32", "height": 32, "width": 24},
        "grid": {"steps": 5},
        "window": {"size": 2, "iters_per_group": 1},
        "rollout": {"prompts": 3, "group_size": 4, "micro_batch": 5},
        "update": {"learning_rate": 1e-3, "clip_range": 1e-2},
        "rewards": {"brightness": 1.0},
        **sections,
    }
    return resolve(settings)


def small_trainer(reward: Reward = brightness, **sections: Any) -> Trainer:
    model = adapt(pipelines.flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
    recipe = small_recipe(**sections)
    return Trainer(recipe, model, dict.fromkeys(recipe.rewards, reward), prompts_of(PROMPTS))


if __name__ == "__main__":
    # Under torchrun: three iterations, then this rank's weights.
    distributed.start()
    trainer = small_trainer(update={"learning_rate": 1e-3, "clip_range": 1e-2, "updates": 2})
    for _ in range(3):
        trainer.iterate()
    weights = {name: parameter.detach() for name, parameter in trainer.parameters.items()}
    save_file(weights, Path(sys.argv[1]) / f"{distributed.world_size()}-{distributed.rank()}.safetensors")
    distributed.stop()
