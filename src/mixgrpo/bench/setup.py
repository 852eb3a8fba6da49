"""The common ground of a comparison: one model, its prompts and rewards, one grid of 25 steps, 12 images a prompt."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from mixgrpo.data.prompts import train_prompts
from mixgrpo.models.base import Conditioning, FlowModel
from mixgrpo.models.load import load_model
from mixgrpo.recipe.load import load_recipe, resolve
from mixgrpo.recipe.presets import ALGORITHMS, SECTIONS, Algorithm
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.sampling.schedule import shifted_linspace
from mixgrpo.training.trainer import Trainer

from .flux_dev_shape import FLUX_DEV_SHAPE, flux_dev_recipe, flux_dev_shape, random_texts

# Seconds an iteration of FLUX.1-dev on 32 GPUs: the paper's tables 1 and 10. What we compare are the ratios.
_PUBLISHED_SECONDS: dict[Algorithm, float] = {
    "dancegrpo": 291.284,
    "mixgrpo": 150.839,
    "mixgrpo-flash": 112.372,
    "mixgrpo-flash-frozen": 83.278,
}
CONTENDERS: dict[str, Algorithm] = {
    "DanceGRPO": "dancegrpo",
    "FlowGRPO": "flowgrpo",
    "MixGRPO": "mixgrpo",
    "Flash": "mixgrpo-flash",
    "Flash*": "mixgrpo-flash-frozen",
    "turbo": "turbo",
}
YARDSTICK = "DanceGRPO"
EVEN_TERMS = ("update.decay=constant", "update.warm_up=0", "update.ema=null")
"""For all who learn in the same time: a falling rate, a warm-up and an average over iterations favour those that make
as many of them as the recipe does.
"""
_ENOUGH_PROMPTS = 64  # batches of them, before they come again
_SHIFT = 3.0


def published_ratio(algorithm: Algorithm) -> float | None:
    """To DanceGRPO's seconds, where the paper has it."""
    seconds = _PUBLISHED_SECONDS.get(algorithm)
    return None if seconds is None else seconds / _PUBLISHED_SECONDS["dancegrpo"]


def chosen(only: Collection[str]) -> dict[str, Algorithm]:
    """These algorithms, beside the yardstick; all of them if none is named."""
    known = CONTENDERS.values()
    for algorithm in only:
        if algorithm not in known:
            raise ValueError(f"--only {algorithm}: must be one of {', '.join(known)}")
    return {
        name: algorithm for name, algorithm in CONTENDERS.items() if not only or algorithm in only or name == YARDSTICK
    }


@dataclass
class Ground:
    base: Recipe
    """Its model, rewards and prompts; the algorithm and the levers are a contender's own."""
    device: torch.device
    load: Callable[[Recipe, torch.device], FlowModel]
    encode: Callable[[FlowModel, Sequence[str]], Conditioning]
    prompts: int = 4
    group_size: int = 12
    steps: int = 25
    seconds: float = 600.0
    """Of training, where learning is measured."""
    learning_rate: float | None = None
    """The same for all who learn; None: the base's."""
    contenders: Mapping[str, Algorithm] = field(default_factory=lambda: dict(CONTENDERS))
    compile: bool = False
    """Whether turbo runs compiled too."""
    _trainers: dict[str, Trainer] = field(default_factory=dict)

    def recipe(self, algorithm: Algorithm, **sections: Mapping[str, Any]) -> Recipe:
        """An algorithm on this ground, with changes. A sliding window slides at every iteration, so that each of its
        positions comes once in as many iterations.
        """
        window = {**ALGORITHMS[algorithm]["window"], **sections.get("window", {})}
        slides = window["strategy"] == "progressive"
        data: dict[str, Any] = {
            "description": algorithm,
            "algorithm": algorithm,
            "tune": self.base.tune,
            "model": self.base.model.model_dump(),
            "lora": self.base.lora.model_dump(),
            "rewards": {name: entry.model_dump() for name, entry in self.base.rewards.items()},
            "grid": {"steps": self.steps, "shift": _SHIFT},
            "window": {"iters_per_group": 1} if slides else {},
            "rollout": {
                "prompts": self.prompts,
                "group_size": self.group_size,
                "micro_batch": self.base.rollout.micro_batch,
            },
            # Time is measured here: the weights stay where they are, whatever the advantages say.
            "update": {"learning_rate": 1e-12, "weight_decay": 0.0, "checkpointing": self.base.update.checkpointing},
        }
        for name, section in sections.items():
            data[name] = {**data.get(name, {}), **section}
        return resolve(data)

    def learner(self, algorithm: Algorithm, seed: int) -> Recipe:
        """The base under another algorithm, on the same grid and on even terms; it trains for as long as one likes."""
        if self.learning_rate is None and self.base.credit != "noise":
            raise ValueError(
                f"--learning-rate is missing: the recipe's, {self.base.update.learning_rate:g}, was chosen for "
                f"credit: {self.base.credit}, and all who learn here credit noise, which bears less"
            )
        own = self.base.model_dump(exclude={*SECTIONS})
        own["update"]["learning_rate"] = self.learning_rate or self.base.update.learning_rate
        grid = {"steps": self.steps, "shift": _SHIFT}
        return resolve({**own, "algorithm": algorithm, "seed": seed, "grid": grid}, EVEN_TERMS)

    @property
    def judged_by(self) -> str:
        """The reward that counts: the last of those that the base is trained on."""
        return [*self.base.weights][-1]

    def trainer(self, recipe: Recipe) -> Trainer:
        """One for all recipes with the same levers in the same model, which a GPU may not hold twice."""
        key = f"{recipe.speed} {recipe.model}"
        if key not in self._trainers:
            prompts = train_prompts(self.base.prompts.train, self.base.seed, _ENOUGH_PROMPTS * self.prompts)
            model = self.load(recipe, self.device)
            self._trainers[key] = Trainer(recipe, model, find_rewards(self.base.rewards), prompts)
            self._trainers[key].encode = partial(self.encode, model)
        trainer = self._trainers[key]
        trainer.recipe, trainer.grid = recipe, shifted_linspace(recipe.grid.steps, _SHIFT)
        return trainer


def ground_on(model: str, device: torch.device, dtype: str | None = None) -> Ground:
    """`model`: a recipe, whose model, rewards and prompts are taken, or flux-dev-shape. `dtype`: None leaves theirs."""
    changes = [] if dtype is None else [f"model.dtype={dtype}"]
    if model == FLUX_DEV_SHAPE:
        base = flux_dev_recipe(changes)
        return Ground(base, device, lambda recipe, on: flux_dev_shape(recipe.model, on), random_texts)
    return Ground(
        load_recipe(model, changes),
        device,
        lambda recipe, on: load_model(recipe.model, on),
        lambda loaded, prompts: loaded.encode(prompts),
    )
