"""What every measurement has in common: a model, its prompts and rewards, a grid of 25 steps, 12 images per prompt."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from mixgrpo.data.prompts import Prompt
from mixgrpo.data.sources import train_prompts
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import load_model
from mixgrpo.recipe.load import load_recipe, resolve
from mixgrpo.recipe.presets import PRESETS, Algorithm
from mixgrpo.recipe.schema import Recipe
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.rewards.reward import Reward
from mixgrpo.training.policy import PolicySettings, make_policy
from mixgrpo.training.trainer import Trainer

from .algorithms import ALGORITHMS
from .flux_dev_shape import FLUX_DEV_SHAPE, flux_dev_recipe, flux_dev_shape

SHIFT = 3.0
_BATCHES = 64  # different batches of prompts


def by_policy(recipes: Mapping[str, Recipe]) -> list[dict[str, Recipe]]:
    """The recipes in groups that share a policy. Measure one group after the other: a setup holds one policy."""
    groups: dict[PolicySettings, dict[str, Recipe]] = {}
    for name, recipe in recipes.items():
        groups.setdefault(PolicySettings.of(recipe), {})[name] = recipe
    return [*groups.values()]


@dataclass
class BenchSetup:
    """It holds one policy at a time, because a GPU may have no room for a second model."""

    base: Recipe
    """Gives the model, rewards and prompts. Algorithm and speed settings are those of each measurement."""
    device: torch.device
    load: Callable[[ModelConfig, torch.device], FlowModel]
    prompts: int = 4
    group_size: int = 12
    steps: int = 25
    algorithms: Mapping[str, Algorithm] = field(default_factory=lambda: dict(ALGORITHMS))
    compile: bool = False
    """Measure a compiled turbo, too."""
    seconds: float = 600.0
    """Training time per algorithm and seed, for `--learning`."""
    learning_rate: float | None = None
    """Of all algorithms, for `--learning`. None: the base recipe's."""
    own_grid: bool = False
    """For `--learning`: the base recipe's grid instead of this one."""
    recipes: Sequence[str] = ()
    """For `--learning`: recipes to compare with the algorithms."""
    _held: tuple[PolicySettings, Trainer] | None = field(default=None, init=False, repr=False)

    @property
    def grid(self) -> dict[str, Any]:
        return {"steps": self.steps, "shift": SHIFT}

    @cached_property
    def train_prompts(self) -> Sequence[Prompt]:
        return train_prompts(self.base.prompts.train, self.base.seed, _BATCHES * self.prompts)

    @cached_property
    def rewards(self) -> dict[str, Reward]:
        return find_rewards(self.base.rewards)

    def recipe(self, algorithm: Algorithm, **sections: Mapping[str, Any]) -> Recipe:
        """An algorithm in this setup, with changes. A sliding window moves at every iteration, so that as many
        iterations as it has positions cover each position once.
        """
        window = {**PRESETS[algorithm]["window"], **sections.get("window", {})}
        data: dict[str, Any] = {
            "description": algorithm,
            "algorithm": algorithm,
            "tune": self.base.tune,
            "model": self.base.model.model_dump(),
            "lora": self.base.lora.model_dump(),
            "prompts": self.base.prompts.model_dump(),
            "rewards": {name: entry.model_dump() for name, entry in self.base.rewards.items()},
            "grid": self.grid,
            "window": {"iters_per_group": 1} if window["strategy"] == "progressive" else {},
            "rollout": {
                "prompts": self.prompts,
                "group_size": self.group_size,
                "micro_batch": self.base.rollout.micro_batch,
            },
            # Time is measured, not learning: the weights hardly move, whatever the advantages.
            "update": {
                "learning_rate": 1e-12,
                "weight_decay": 0.0,
                "gradient_checkpointing": self.base.update.gradient_checkpointing,
            },
        }
        for name, section in sections.items():
            data[name] = {**data.get(name, {}), **section}
        return resolve(data)

    def trainer(self, recipe: Recipe) -> Trainer:
        """A trainer on the current policy, if the recipe can share it. Otherwise that policy is dropped and a new one
        made, which loads the model again. A trainer that the caller keeps would keep the old policy in memory.
        """
        key = PolicySettings.of(recipe)
        if self._held is None or self._held[0] != key:
            self.release()
            policy = make_policy(self.load(recipe.model, self.device), recipe)
            self._held = key, Trainer(recipe, policy, self.rewards, self.train_prompts)
        return self._held[1].with_recipe(recipe)

    def release(self) -> None:
        """Drop the policy."""
        self._held = None
        gc.collect()  # modules of compiled models and adapters refer to each other


def bench_setup(model: str, device: str, dtype: str | None = None, **settings: Any) -> BenchSetup:
    """`model`: a recipe, for its model, rewards and prompts; or flux-dev-shape. `dtype`: None leaves the recipe's."""
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"--device {device}: must be cpu or cuda")
    changes = [] if dtype is None else [f"model.dtype={dtype}"]
    if model == FLUX_DEV_SHAPE:
        return BenchSetup(flux_dev_recipe(changes), torch.device(device), flux_dev_shape, **settings)
    return BenchSetup(load_recipe(model, changes), torch.device(device), load_model, **settings)
