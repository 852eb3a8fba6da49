"""The result of a run: the tuned model, the base model, and a mix of both."""

import copy
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import load_model, load_network
from mixgrpo.models.quantized import stored_bytes
from mixgrpo.models.resting import bring_block_by_block
from mixgrpo.parallel import distributed
from mixgrpo.recipe.schema import Recipe
from mixgrpo.sampling.field import Conditioning, VelocityField
from mixgrpo.training.policy import ModelContext, make_trainable, masters, same_model, without_adapters
from mixgrpo.training.speed import place

from .folder import RunFolder

_ROOM_FOR_NETWORKS = 0.75
"""Of the accelerator's memory. The rest is for text encoders, which come after each other, and for activations."""


@dataclass(frozen=True)
class Tuned:
    recipe: Recipe
    model: FlowModel
    base: ModelContext
    """Context manager that yields the model as it was before training."""


def load_tuned(folder: Path, device: torch.device, checkpoint: str | None = None, *, quantized: bool = True) -> Tuned:
    """The finished result; or a checkpoint: `last`, `best` or an iteration. None: the result if there is one, or the
    last checkpoint. `quantized`: the base as the recipe has it, or whole.
    """
    run = RunFolder(folder)
    recipe = run.load_recipe()
    settings = recipe.model if quantized else recipe.model.model_copy(update={"quantize": None})
    names = [run.lora] if recipe.tune == "lora" else [run.network("transformer")]
    if checkpoint is None and all(path.is_dir() for path in names):
        return _brought(_from_result(run, recipe, load_model(settings)), device)
    iteration = _iteration(run, checkpoint or "last")
    return _brought(_from_checkpoint(run, recipe, load_model(settings), iteration), device)


def _brought(tuned: Tuned, device: torch.device) -> Tuned:
    """To the device; networks block by block while they draw, where the run did so or the device is too small."""
    place(tuned.model, device, tuned.recipe.speed)
    with tuned.base() as base:
        networks = {id(network): network for model in (tuned.model, base) for network in model.networks.values()}
    held = sum(stored_bytes(tensor) for network in networks.values() for tensor in network.parameters())
    waits = tuned.recipe.parallel.offload or held > _ROOM_FOR_NETWORKS * distributed.device_memory(device)
    for network in networks.values():
        if waits and device.type != "cpu":
            bring_block_by_block(network, tuned.model.blocks, device)
        else:
            network.to(device)
    return tuned


def _iteration(run: RunFolder, checkpoint: str) -> int:
    known = ", ".join(map(str, run.checkpoints.iterations())) or "none"
    if checkpoint == "last":
        iteration, _ = run.checkpoints.newest()
        if iteration is None:
            raise FileNotFoundError(f"{run.path} has no result and no complete checkpoint yet")
        return iteration
    if checkpoint == "best":
        best = run.best()
        if best is None:
            raise ValueError(f"{run.path} has not been evaluated during training: name a checkpoint, one of {known}")
        checkpoint = str(best.iteration)
    if not checkpoint.isdecimal() or int(checkpoint) not in run.checkpoints.iterations():
        raise ValueError(f"--checkpoint {checkpoint}: must be last, best or one of {known}")
    run.checkpoints.verify(int(checkpoint))
    return int(checkpoint)


def _from_result(run: RunFolder, recipe: Recipe, model: FlowModel) -> Tuned:
    if recipe.tune == "lora":
        model.pipeline.load_lora_weights(run.lora)
        return Tuned(recipe, model, partial(without_adapters, model))
    tuned = {
        name: load_network(type(base), run.network(name), base.dtype).to(model.device)
        for name, base in model.networks.items()
    }
    for network in tuned.values():
        network.eval().requires_grad_(False)
    return Tuned(recipe, model.with_networks(tuned), partial(same_model, model))


def _from_checkpoint(run: RunFolder, recipe: Recipe, model: FlowModel, iteration: int) -> Tuned:
    """With the averaged weights, if there are any: those that are evaluated and exported."""
    lora = recipe.tune == "lora"
    tuned = model if lora else model.with_networks({name: copy.deepcopy(n) for name, n in model.networks.items()})
    parameters = make_trainable(tuned, recipe, run.adapter())
    for network in tuned.networks.values():
        masters(network)
    saved = run.checkpoints.load_weights(iteration, "average") or run.checkpoints.load_weights(iteration)
    for name, parameter in parameters.items():
        parameter.data.copy_(saved[name])
        parameter.requires_grad_(False)
    for network in tuned.networks.values():
        network.eval()
    return Tuned(recipe, tuned, partial(without_adapters, tuned) if lora else partial(same_model, model))


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
