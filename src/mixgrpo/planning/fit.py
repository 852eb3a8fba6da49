"""The smallest changes that make a recipe fit, with the same effective batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mixgrpo.parallel.sharding import held_whole, sharding_for
from mixgrpo.recipe.schema import Recipe

from .memory import GpuMemory, Layout, memory_of
from .tracing import Traced, trace

_USABLE = 0.92
"""Of a GPU's memory. The rest is CUDA's own and lost between tensors."""

_CHECKPOINTING, _SHARD = "update.gradient_checkpointing=true", "parallel.shard=full"
_OFFLOAD, _LORA = "parallel.offload=true", "tune=lora"
_QUANTIZE = "model.quantize=int8"
_OFFLOADED = (_CHECKPOINTING, _SHARD, _OFFLOAD)
_FASTER = ((), (_CHECKPOINTING,), (_SHARD,), (_CHECKPOINTING, _SHARD))
# From the smallest change to the largest. LoRA comes last: it changes what is learned, the others but quantization
# only time. A quantized base draws nearly the same, and several times as fast as one that is offloaded.
_OF_LORA = (*_FASTER, (_CHECKPOINTING, _QUANTIZE), _OFFLOADED)
_OF_FULL = (*_FASTER, _OFFLOADED, *((_LORA, *changes) for changes in _OF_LORA))


@dataclass(frozen=True)
class Gpus:
    count: int
    memory: float
    """Bytes of each."""
    per_machine: int = 8

    @property
    def usable(self) -> float:
        return _USABLE * self.memory


@dataclass(frozen=True)
class Fitted:
    recipe: Recipe
    changes: tuple[str, ...]
    """As they are typed behind the recipe's name."""
    traced: Traced
    layout: Layout
    memory: GpuMemory
    fits: bool


def placed(recipe: Recipe, gpus: Gpus, traced: Traced, changes: tuple[str, ...] = ()) -> Fitted:
    """The recipe on these GPUs as it is."""
    held = held_whole(traced.frozen_bytes, traced.trained, bool(recipe.update.ema_decay))
    own, per_machine = recipe.parallel, min(gpus.count, gpus.per_machine)
    sharding = sharding_for(recipe.shard, own.offload, held, gpus.memory, gpus.count, per_machine)
    layout = Layout(gpus.count, gpus.per_machine, sharding)
    memory = memory_of(traced, recipe, layout)
    return Fitted(recipe, changes, traced, layout, memory, max(memory.sums.values()) <= gpus.usable)


def fitted(changed: Callable[[Sequence[str]], Recipe], gpus: Gpus) -> Fitted | None:
    """With the first changes that fit, and then the most images a model call. `changed`: the recipe with changes."""
    traces: dict[tuple[str, bool, str | None], Traced] = {}
    for changes in _possible(changed([]), gpus):
        recipe = changed(changes)
        key = recipe.tune, recipe.update.gradient_checkpointing, recipe.model.quantize
        traces[key] = traces.get(key) or trace(recipe)
        for micro_batch in _halved(recipe.rollout.micro_batch):
            smaller = () if micro_batch == recipe.rollout.micro_batch else (f"rollout.micro_batch={micro_batch}",)
            result = placed(changed([*changes, *smaller]), gpus, traces[key], (*changes, *smaller))
            if result.fits:
                return result
    return None


def _possible(recipe: Recipe, gpus: Gpus) -> Iterator[tuple[str, ...]]:
    """Without those that the recipe has already, or that one GPU cannot have: it shares nothing unless it offloads.
    What is quantized is not shared out.
    """
    there = {
        _CHECKPOINTING: recipe.update.gradient_checkpointing,
        _SHARD: recipe.parallel.shard in ("full", "hybrid"),
        _OFFLOAD: recipe.parallel.offload,
        _LORA: recipe.tune == "lora",
        _QUANTIZE: recipe.model.quantize is not None,
    }
    shares = there[_SHARD] or there[_OFFLOAD]
    seen = set()
    for changes in _OF_LORA if there[_LORA] else _OF_FULL:
        new = tuple(change for change in changes if not there[change])
        alone = gpus.count == 1 and _SHARD in new and _OFFLOAD not in changes
        if new not in seen and not alone and not (_QUANTIZE in new and shares):
            seen.add(new)
            yield new


def _halved(number: int) -> Iterator[int]:
    while number:
        yield number
        number //= 2
