"""What is trained: weights of the transformer, or adapters on its attention. And the frozen model beside it."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from functools import partial

import torch
from peft import LoraConfig as PeftLoraConfig
from torch import nn

from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import with_transformer
from mixgrpo.recipe.schema import Recipe


def make_trainable(model: FlowModel, recipe: Recipe, adapter: PeftLoraConfig | None = None) -> dict[str, nn.Parameter]:
    """The trained parameters by name. They are float32, whatever the model computes in. `adapter` stands in for
    the recipe's own.
    """
    transformer = model.transformer
    if recipe.tune == "full":
        for parameter in _chosen(transformer, recipe.tune_only):
            parameter.requires_grad_(True)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            transformer.add_adapter(
                adapter
                or PeftLoraConfig(
                    r=recipe.lora.rank,
                    lora_alpha=recipe.lora.alpha,
                    target_modules=[*model.lora_targets],
                    init_lora_weights="gaussian",
                )
            )
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if recipe.update.checkpointing:
        transformer.enable_gradient_checkpointing()
    return {name: parameter for name, parameter in transformer.named_parameters() if parameter.requires_grad}


def _chosen(transformer: nn.Module, patterns: Sequence[str]) -> list[nn.Parameter]:
    """The weights whose names match any of these; all, where there are none."""
    weights = dict(transformer.named_parameters())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in weights):
            raise ValueError(
                f"tune_only = {pattern!r}: matches no weight of {type(transformer).__name__}, whose weights have names "
                f"like {next(iter(weights))}"
            )
    return [
        weight
        for name, weight in weights.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def reference_of(model: FlowModel, recipe: Recipe) -> Callable[[], AbstractContextManager[FlowModel]]:
    """Enters the model as it was before training: adapters off; a copy, where all weights train."""
    if recipe.tune == "lora":
        return partial(without_adapters, model)
    return partial(as_it_is, with_transformer(model, copy.deepcopy(model.transformer)))


@contextmanager
def as_it_is(model: FlowModel) -> Iterator[FlowModel]:
    yield model


@contextmanager
def without_adapters(model: FlowModel) -> Iterator[FlowModel]:
    model.transformer.disable_adapters()
    try:
        yield model
    finally:
        model.transformer.enable_adapters()
