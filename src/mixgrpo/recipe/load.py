"""Reading recipes: a shipped name or a YAML file, plus `key=value` overrides, checked against the schema.

Every mistake is refused here, in one sentence with the key, the value and what is allowed. A recipe is made of layers:

    algorithm's preset and the toy model's defaults, where the others leave something open
    the recipe that a file extends (a shipped name, a file, or a run's folder), and those which that one extends
    the file
    overrides
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixgrpo.data.sources import both_halves
from mixgrpo.section import shown, suggestion

from .errors import RecipeError
from .layers import layered, overridden
from .mistakes import checked
from .paths import anchored
from .presets import with_preset
from .schema import Recipe
from .toy import with_toy_defaults
from .verl import from_verl
from .yaml_text import check_values, parse_yaml, read_yaml

__all__ = ["RecipeError", "description_of", "load_recipe", "parse_yaml", "resolve", "shipped_recipes"]

SHIPPED = Path(__file__).parent / "shipped"


def shipped_recipes() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def description_of(name: str) -> str:
    """Of a shipped recipe, which needs no check for this."""
    return str(_read(_found(name, Path()), ())["description"])


def load_recipe(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a shipped name, a YAML file or a run's folder, with overrides such as `window.size=2`."""
    return _resolved(_read(_found(source, Path()), ()), overrides)


def resolve(data: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of nested mappings."""
    check_values(data, "the recipe")
    data = _with_base(data, Path(), ())
    return _resolved(data, overrides)


def _resolved(data: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    changed = _canonical(overridden(data, overrides))
    if isinstance(changed.get("rewards"), dict):
        changed["rewards"] = {label: entry for label, entry in changed["rewards"].items() if entry is not None}
    return checked(with_preset(with_toy_defaults(anchored(changed, Path()))))


def _found(source: str, folder: Path) -> Path:
    """Of a shipped recipe, a file, or a run."""
    path = folder / source
    shipped = SHIPPED / f"{source}.yaml"
    candidates = [path] if path.suffix in (".yaml", ".yml") else [shipped, path / "recipe.yaml"]
    for candidate in candidates:
        try:
            if candidate.is_file():
                return candidate
        except OSError:  # a name that is too long for a file's
            break
    raise RecipeError(
        f"no recipe {shown(source)}: {suggestion(str(source), shipped_recipes())} "
        "(a .yaml file or the folder of a run is a recipe too)"
    )


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """A file's keys on top of those that it extends. `extending`: the files on the way to this one."""
    if path.resolve() in extending:
        circle = " extends ".join(file.name for file in [*extending, path])
        raise RecipeError(f"{path}: extends itself: {circle}")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values, not {type(data).__name__}")
    # What a shipped recipe names lies in the working directory.
    folder = Path() if path.parent == SHIPPED else path.parent
    return _with_base(data, folder, (*extending, path.resolve()))


def _with_base(data: dict[str, Any], folder: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    own = {key: value for key, value in data.items() if key != "extends"}
    own = anchored(_canonical(own), folder)
    if "extends" not in data:
        return own
    if not isinstance(data["extends"], str):
        raise RecipeError(f"extends = {shown(data['extends'])}: must be one recipe: a name, a file or a run's folder")
    return layered(_read(_found(data["extends"], folder), extending), own)


def _canonical(data: dict[str, Any]) -> dict[str, Any]:
    """One way of writing for everything that has several."""
    data = from_verl(data)
    if isinstance(data.get("prompts"), str):
        data["prompts"] = _both_halves(data["prompts"])
    return data


def _both_halves(source: str) -> dict[str, str]:
    train, evaluation = both_halves(source)
    return {"train": train, "evaluation": evaluation}
