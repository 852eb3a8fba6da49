"""The policy: the model that is trained, which of its weights train, and the frozen reference."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple

import torch
from diffusers import ModelMixin
from peft import LoraConfig as PeftLoraConfig
from torch import nn

from mixgrpo.models.base import FlowModel, Networks
from mixgrpo.models.quantized import stored_bytes
from mixgrpo.objectives.build import build_objective
from mixgrpo.objectives.objective import Objective
from mixgrpo.parallel.distributed import device_memory
from mixgrpo.parallel.sharding import choose, held_whole, mesh, shard
from mixgrpo.recipe.schema import Recipe
from mixgrpo.recipe.sections import LoraConfig, ModelConfig, ParallelConfig

from .speed import place, speed_up
from .weights import TrainedWeights

ModelContext = Callable[[], AbstractContextManager[FlowModel]]
"""Makes a context manager that yields a model."""


@dataclass(frozen=True)
class Policy:
    model: FlowModel
    weights: TrainedWeights
    reference: ModelContext | None
    """The model before training, if an objective needs it."""
    settings: "PolicySettings"
    sharded: bool
    """Whether every forward is made by all processes together."""


class PolicySettings(NamedTuple):
    """What a policy was made from. Recipes that agree in it can train the same policy."""

    model: ModelConfig
    tune: str
    tune_only: tuple[str, ...]
    lora: LoraConfig
    parallel: ParallelConfig
    optimizer: tuple[object, ...]
    speed: tuple[bool, ...]

    @staticmethod
    def of(recipe: Recipe) -> "PolicySettings":
        update, speed = recipe.update, recipe.speed
        return PolicySettings(
            recipe.model,
            recipe.tune,
            recipe.tune_only,
            recipe.lora,
            recipe.parallel,
            (
                update.betas,
                update.weight_decay,
                update.max_grad_norm,
                update.ema_decay,
                update.gradient_checkpointing,
            ),
            (speed.compile, speed.channels_last, speed.fused_optimizer, speed.keep_text_encoders),
        )


def make_policy(
    model: FlowModel,
    recipe: Recipe,
    adapter: PeftLoraConfig | None = None,
    objective: Objective | None = None,
    device: torch.device | None = None,
) -> Policy:
    """Prepare a model for training, once, and bring it to the device: to the one where it is, if None. `adapter` and
    `objective` replace the recipe's own.
    """
    if recipe.model.dtype == "float16":
        raise ValueError(
            "model.dtype = float16: is for drawing images only, because small gradients become 0 in it. Train in "
            "bfloat16 or float32"
        )
    # Measured on an H200 with torch 2.11 and cuDNN 9.19: its attention's backward pass in bfloat16 gives NaN or reads
    # memory that is not its own, in FLUX of any size. The other kernels are right.
    torch.backends.cuda.enable_cudnn_sdp(False)
    device = device or model.device
    # With full tuning a reference is a copy of the networks: made only if it is used.
    uses_reference = (objective or build_objective(recipe.objective, recipe.renoise)).uses_reference
    reference = _reference(model, recipe) if uses_reference else None
    trained = make_trainable(model, recipe, adapter)
    networks = [*model.networks.values(), *_own_networks(model, reference)]
    frozen = sum(stored_bytes(p) for network in networks for p in network.parameters() if not p.requires_grad)
    held = held_whole(frozen, sum(p.numel() for p in trained.values()), bool(recipe.update.ema_decay))
    sharding = choose(recipe.shard, recipe.parallel.offload, held, device_memory(device))
    place(model, device, recipe.speed)
    if sharding == "none":
        for network in networks:
            masters(network.to(device))
    else:
        over, dtype = mesh(sharding, device), getattr(torch, recipe.model.dtype)
        for network in networks:
            shard(network, model.blocks, over, dtype, recipe.parallel.offload, prepare=masters)
    speed_up(model, recipe.speed)
    weights = TrainedWeights(_trained(model), recipe.update, recipe.speed.fused_optimizer)
    return Policy(model, weights, reference, PolicySettings.of(recipe), sharding != "none")


def _own_networks(model: FlowModel, reference: ModelContext | None) -> list[ModelMixin]:
    """Those of the reference that are not the model's."""
    if reference is None:
        return []
    with reference() as frozen:
        return [network for name, network in frozen.networks.items() if network is not model.networks[name]]


def make_trainable(model: FlowModel, recipe: Recipe, adapter: PeftLoraConfig | None = None) -> dict[str, nn.Parameter]:
    """The trained parameters by name, in the model's precision: `masters` makes them float32."""
    if recipe.tune == "full":
        for parameter in _chosen(model.networks, recipe.tune_only):
            parameter.requires_grad_(True)
    else:
        lora = adapter or PeftLoraConfig(r=recipe.lora.rank, lora_alpha=recipe.lora.alpha, init_lora_weights="gaussian")
        if lora.target_modules is None:
            lora.target_modules = {*model.lora_targets}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            for network in model.networks.values():
                network.add_adapter(lora)
                network.eval()  # new adapters are in train mode, and their dropout would set rollout and update apart
    if recipe.update.gradient_checkpointing:
        for network in model.networks.values():
            network.enable_gradient_checkpointing()
    return _trained(model)


def masters(part: nn.Module) -> None:
    """What is trained is float32, whatever the model's precision."""
    for parameter in part.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _trained(model: FlowModel) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in _named(model.networks).items() if parameter.requires_grad}


def _named(networks: Networks) -> dict[str, nn.Parameter]:
    """Every parameter, named as in its network; with several networks, behind the network's name."""
    if len(networks) == 1:
        return dict(next(iter(networks.values())).named_parameters())
    return {f"{name}.{key}": p for name, network in networks.items() for key, p in network.named_parameters()}


def _chosen(networks: Networks, patterns: Sequence[str]) -> list[nn.Parameter]:
    """The parameters whose names match any pattern; all, if there are no patterns."""
    parameters = _named(networks)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise ValueError(f"tune_only = {pattern!r}: matches no weight; names look like {next(iter(parameters))}")
    return [
        parameter
        for name, parameter in parameters.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _reference(model: FlowModel, recipe: Recipe) -> ModelContext:
    """The model before training: without its adapters, or a copy where the weights themselves train."""
    if recipe.tune == "lora":
        return partial(without_adapters, model)
    return partial(same_model, model.with_networks({name: copy.deepcopy(n) for name, n in model.networks.items()}))


@contextmanager
def same_model(model: FlowModel) -> Iterator[FlowModel]:
    yield model


@contextmanager
def without_adapters(model: FlowModel) -> Iterator[FlowModel]:
    """Must not be nested: leaving the inner one would enable the adapters."""
    for network in model.networks.values():
        network.disable_adapters()
    try:
        yield model
    finally:
        for network in model.networks.values():
            network.enable_adapters()
