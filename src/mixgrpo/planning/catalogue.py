"""The models whose sizes are known: how each is guided, its recipes, and the memory that it takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mixgrpo.models.load import ADAPTERS
from mixgrpo.recipe.load import load_recipe, shipped_recipes

from .fit import Gpus, placed
from .published import NOT_PLANNED, PUBLISHED
from .tracing import trace

_ONE_GPU = Gpus(1, 1e15)
"""With room for whatever is asked for."""


@dataclass(frozen=True)
class Entry:
    path: str
    kind: str
    """The class of its pipeline."""
    guidance: str
    recipes: tuple[str, ...]
    settings: str
    """The recipe whose settings its memory is planned with: its own, or that of another model of its kind."""
    planned: bool = True


def entries() -> Iterator[Entry]:
    path_of = {name: load_recipe(name).model.path for name in shipped_recipes()}
    recipes_of = {path: tuple(name for name in path_of if path_of[name] == path) for path in PUBLISHED}
    for path, (kind, _) in PUBLISHED.items():
        alike = [name for other, names in recipes_of.items() if PUBLISHED[other].kind is kind for name in names]
        settings = (*recipes_of[path], *alike)[0]
        yield Entry(path, kind.__name__, ADAPTERS[kind.__name__].guidance, recipes_of[path], settings)
    for path, name in NOT_PLANNED.items():
        yield Entry(path, name, ADAPTERS[name].guidance, (), recipes_of["Qwen/Qwen-Image"][0], planned=False)


def peak(entry: Entry, tune: Literal["lora", "full"]) -> float:
    """Bytes on one GPU, with checkpointing. Takes seconds."""
    changes = [f"model.path={entry.path}", f"tune={tune}", "update.gradient_checkpointing=true"]
    recipe = load_recipe(entry.settings, [*changes, "model.quantize=null", "parallel={}"])
    return max(placed(recipe, _ONE_GPU, trace(recipe)).memory.sums.values())
