"""The result of a run: the tuned model, the base model, and a mix of both."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import load_model
from mixgrpo.recipe.schema import Recipe
from mixgrpo.sampling.field import Conditioning, VelocityField
from mixgrpo.training.policy import ModelContext, same_model, without_adapters

from .folder import RunFolder


@dataclass(frozen=True)
class Tuned:
    recipe: Recipe
    model: FlowModel
    base: ModelContext
    """Context manager that yields the model as it was before training."""


def load_tuned(folder: Path, device: torch.device) -> Tuned:
    run = RunFolder(folder)
    recipe = run.load_recipe()
    model = load_model(recipe.model, device)
    results = [run.lora] if recipe.tune == "lora" else [run.network(name) for name in model.networks]
    if not all(result.is_dir() for result in results):
        raise FileNotFoundError(f"{folder} has no result yet: finish the run with `mixgrpo resume {folder}`")
    if recipe.tune == "lora":
        model.pipeline.load_lora_weights(run.lora)
        return Tuned(recipe, model, partial(without_adapters, model))
    tuned = {
        name: type(base).from_pretrained(run.network(name), dtype=base.dtype).to(device).eval().requires_grad_(False)
        for name, base in model.networks.items()
    }
    return Tuned(recipe, model.with_networks(tuned), partial(same_model, model))


@dataclass(frozen=True)
class Hybrid:
    """The tuned model for the first steps, the base model for the rest: a remedy against reward hacking."""

    tuned: FlowModel
    base: ModelContext
    switch: float
    """The base model takes over below this sigma. It lies between two sigmas of the grid, so that rounding does not
    matter.
    """

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        if sigma[0] > self.switch:
            return self.tuned.velocity(x, sigma, conditioning)
        with self.base() as original:
            return original.velocity(x, sigma, conditioning)


def hybrid(tuned: Tuned, fraction: float, steps: int) -> VelocityField:
    """The tuned model for `fraction` of the steps."""
    sigmas = (math.inf, *tuned.model.grid(steps).sigmas)
    first = round(fraction * steps)  # of the base model's steps
    return Hybrid(tuned.model, tuned.base, (sigmas[first] + sigmas[first + 1]) / 2)
