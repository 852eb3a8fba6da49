"""Small trainings on the tiny random-weight FLUX, for tests and for the processes that tests start."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt
from mixgrpo.objectives.objective import Objective
from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import resolve
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.reward import Reward
from mixgrpo.training.policy import make_policy
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
        "objective": {"clip_range": 1e-2},
        "update": {"learning_rate": 1e-3},
        "rewards": {"brightness": 1.0},
        "prompts": "scenes",
        **sections,
    }
    return resolve(settings)


def small_trainer(
    reward: Reward = brightness,
    flow_model: FlowModel | None = None,
    custom_objective: Objective | None = None,
    **sections: Any,
) -> Trainer:
    recipe = small_recipe(**sections)
    model = flow_model or adapt(pipelines.flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
    rewards = dict.fromkeys(recipe.rewards, reward)
    return Trainer(
        recipe, make_policy(model, recipe, objective=custom_objective), rewards, prompts_of(PROMPTS), custom_objective
    )


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """A copy of the trained weights."""
    return {name: parameter.detach().clone() for name, parameter in trainer.policy.weights.parameters.items()}


if __name__ == "__main__":
    # Under torchrun: three iterations, then this rank's weights.
    with distributed.processes():
        trainer = small_trainer(update={"learning_rate": 1e-3, "minibatches": 2})
        for _ in range(3):
            trainer.iterate()
        save_file(weights(trainer), Path(sys.argv[1]) / f"{distributed.world_size()}-{distributed.rank()}.safetensors")
