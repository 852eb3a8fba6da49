"""A run's result: the tuned model beside the one it began as, and pictures drawn by both in turn."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mixgrpo.models.base import Conditioning, FlowModel, VelocityField
from mixgrpo.models.load import load_model, with_transformer
from mixgrpo.recipe.schema import Recipe
from mixgrpo.training.trainable import as_it_is, without_adapters

from .folder import RunFolder

Base = Callable[[], AbstractContextManager[FlowModel]]


@dataclass(frozen=True)
class Tuned:
    recipe: Recipe
    model: FlowModel
    base: Base
    """Enters the model as it was before training."""


def load_tuned(folder: Path, device: torch.device) -> Tuned:
    run = RunFolder(folder)
    recipe = run.load_recipe()
    model = load_model(recipe.model, device)
    if not (run.lora if recipe.tune == "lora" else run.transformer).is_dir():
        raise FileNotFoundError(f"{folder} has no result yet: finish it with `mixgrpo resume {folder}`")
    if recipe.tune == "lora":
        model.pipeline.load_lora_weights(run.lora)
        return Tuned(recipe, model, partial(without_adapters, model))
    base = model.transformer
    transformer = type(base).from_pretrained(run.transformer, dtype=base.dtype).to(device)
    return Tuned(recipe, with_transformer(model, transformer.eval().requires_grad_(False)), partial(as_it_is, model))


@dataclass(frozen=True)
class Hybrid:
    """The tuned model for the first steps, the original for the rest: a remedy against reward hacking."""

    tuned: FlowModel
    base: Base
    switch: float
    """Below it the original is asked. Between two sigmas of the grid: an exact one is a matter of rounding."""

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        if sigma[0] > self.switch:
            return self.tuned.velocity(x, sigma, conditioning)
        with self.base() as original:
            return original.velocity(x, sigma, conditioning)


def hybrid(tuned: Tuned, share: float, steps: int) -> VelocityField:
    """`share` of the steps by the tuned model."""
    sigmas = (math.inf, *tuned.model.grid(steps).sigmas)
    first = round(share * steps)  # of the original's steps
    return Hybrid(tuned.model, tuned.base, (sigmas[first] + sigmas[first + 1]) / 2)
