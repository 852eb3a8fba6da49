"""Reading recipes: a shipped name or a YAML file, plus `key=value` overrides, checked against the schema.

Every mistake is refused here, in one sentence with the key, the value and what is allowed. YAML is read by ruamel.yaml,
which follows YAML 1.2 (`1e-5` is a number) and refuses duplicate keys.
"""

import difflib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mixgrpo.sampling.window import WindowStrategy
from mixgrpo.section import alternatives, sentence

from .presets import PRESET_SECTIONS, PRESETS
from .schema import Recipe

SHIPPED = Path(__file__).parent / "shipped"

# verl-omni's names of some keys, accepted as they are.
VERL_NAMES = {
    "sde_window_size": "window.size",
    "sde_window_range": "window.range",
    "sample_strategy": "window.strategy",
    "iters_per_group": "window.iters_per_group",
    "sde_window_seed": "window.seed",
    "noise_level": "sde.noise_level",
    "sde_type": "sde.type",
}

# What other trainers call some keys. Not accepted, but the error names ours.
_NAMES_ELSEWHERE = {
    "lr": "update.learning_rate",
    "beta": "objective.kl_weight",
    "epsilon": "objective.clip_range",
    "num_iterations": "update.minibatches",
    "num_generations": "rollout.group_size",
    "batch_size": "rollout.micro_batch",
    "max_steps": "iterations",
    "resolution": "model.height",
    "sampling_steps": "grid.steps",
}

_STRATEGIES: dict[str, type[BaseModel]] = {
    kind.model_fields["strategy"].annotation.__args__[0]: kind for kind in get_args(get_args(WindowStrategy)[0])
}


class RecipeError(ValueError):
    """What is wrong with a recipe, one sentence a line."""


def shipped_recipes() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load_recipe(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a shipped name or a YAML file, with `key=value` overrides such as `window.size=2`."""
    path = Path(source) if source.endswith((".yaml", ".yml")) else SHIPPED / f"{source}.yaml"
    if not path.is_file():
        raise RecipeError(f"no recipe {source!r}: give a .yaml file or one of {', '.join(shipped_recipes())}")
    data = parse_yaml(path.read_text(encoding="utf-8"), what=source)
    if not isinstance(data, dict):
        raise RecipeError(f"{source}: a recipe is a mapping of keys to values, not {type(data).__name__}")
    return resolve(data, overrides)


def resolve(data: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Check a recipe given as nested mappings."""
    data = _from_verl(data)
    objective = _objective_type(data)
    for override in overrides:
        _apply(data, override)
    rate_given = any("learning_rate=" in override for override in overrides)
    if objective == "image-credit" and _objective_type(data) != "image-credit" and not rate_given:
        raise RecipeError(
            "update.learning_rate: the recipe's learning rate was tuned for objective.type = image-credit. "
            "clipped-ratio needs about a third of it: set update.learning_rate"
        )
    data = _with_preset(data)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(_sentence(detail) for detail in error.errors())) from None


def parse_yaml(text: str, what: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(io.StringIO(text))
    except YAMLError as error:
        raise RecipeError(f"{what}: not valid YAML: {' '.join(str(error).split())}") from None


def _objective_type(data: dict[str, Any]) -> Any:
    section = data.get("objective")
    return section.get("type") if isinstance(section, dict) else None


def _from_verl(data: dict[str, Any]) -> dict[str, Any]:
    """Rename verl-omni's keys and keep their meaning.

    verl-omni's progressive window moves by its whole size and stays at the end. Its names stand for that here too,
    unless stride and wrap are given.
    """
    renamed = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for name, key in VERL_NAMES.items():
        if name not in data:
            continue
        section, field = key.split(".")
        fields = renamed.setdefault(section, {})
        if field in fields:
            raise RecipeError(f"{name} and {key} are the same setting: give one of them")
        fields[field] = _verl_value(name, renamed.pop(name))
    window = renamed.get("window")
    if data.get("sample_strategy") == "progressive" and isinstance(window, dict):
        window.setdefault("wrap", False)
        if isinstance(window.get("size"), int):
            window.setdefault("stride", window["size"])
    return renamed


def _verl_value(name: str, value: Any) -> Any:
    return "flow" if (name, value) == ("sde_type", "sde") else value


def _with_preset(data: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the algorithm's preset decides and the recipe leaves open. Where the recipe names another window
    strategy or SDE type than the preset, none of the preset's keys for it apply.
    """
    name = data.get("algorithm", "mixgrpo")
    if name not in PRESETS:
        raise RecipeError(f"algorithm = {name!r}: must be {alternatives(PRESETS)}")
    filled = dict(data)
    for section, preset in PRESETS[name].items():
        own = data.get(section, {})
        if not isinstance(own, dict):
            continue
        if section == "window" and own.get("strategy", preset["strategy"]) != preset["strategy"]:
            continue
        if section == "sde" and own.get("type", preset["type"]) != preset["type"]:
            continue
        filled[section] = {**preset, **own}
    return filled


def _apply(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise RecipeError(f"{override!r} is not an override: write key=value, such as window.size=2")
    *sections, field = VERL_NAMES.get(name, name).split(".")
    if sections[:1] == ["rewards"]:  # a reward's name may be a file's, with a dot
        sections, field = ["rewards"], name.removeprefix("rewards.")
    value = _verl_value(name, parse_yaml(text, what=override))
    target = data
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise RecipeError(f"{name}: {section} is a value, not a section; {_closest(name)}")
    if [*sections, field] == ["window", "strategy"] and value in _STRATEGIES:
        # Strategies have different keys: drop those of the old one that the new one does not have.
        for key in target.keys() - _STRATEGIES[value].model_fields.keys():
            del target[key]
    if sections == ["rewards"]:
        field, value = _reward_entry(target, field, value)
    if name == "algorithm":
        # Another algorithm replaces everything that the recipe set for its own.
        for section in PRESET_SECTIONS:
            data.pop(section, None)
        if isinstance(data.get("objective"), dict):
            data["objective"].pop("type", None)
    if name == "tune":
        data.pop("tune_only", None)  # chosen for the recipe's own way of tuning
    target[field] = value


def _reward_entry(rewards: dict[str, Any], key: str, value: Any) -> tuple[str, Any]:
    """The label in `label` or `label.option`, and its new entry. A label may be path/to/file.py:function, which has a
    dot of its own. A number changes the weight and keeps the options.
    """
    path, colon, last = key.rpartition(":")
    label, _, option = last.partition(".")
    label = path + colon + label
    if isinstance(value, dict) and not option:
        return label, value
    before = rewards.get(label, {})
    options = before if isinstance(before, dict) else {"weight": before}
    return label, {**options, option or "weight": value}


def _sentence(detail: ErrorDetails) -> str:
    """One pydantic error in words."""
    path = [part for part in detail["loc"] if part not in _STRATEGIES and not isinstance(part, int)]
    key = ".".join(str(part) for part in path)
    given = detail["input"]
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            owners = [
                name for name, kind in _STRATEGIES.items() if path[0] == "window" and path[1] in kind.model_fields
            ]
            if owners:
                return (
                    f"{key} = {given!r}: window strategy {detail['loc'][1]} has no such key "
                    f"({alternatives(owners)} has)"
                )
            return f"{key} = {given!r}: unknown key; {_closest(key)}"
        case "missing" if key == "window.range":
            return f"{key} = {given!r}: must be [start, end], two step numbers"
        case "union_tag_invalid":
            return f"{key}.strategy = {context['tag']!r}: must be {alternatives(_STRATEGIES)}"
        case "union_tag_not_found":
            return f"{key}.strategy is missing: must be {alternatives(_STRATEGIES)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{key} = {given!r}: must be a section with keys of its own"
        case _:
            return sentence(key, detail)


def _closest(key: str) -> str:
    """The known key that was probably meant: by another trainer's name, by the whole key, or by its last part."""
    if (last := key.rpartition(".")[2]) in _NAMES_ELSEWHERE:
        return f"did you mean {_NAMES_ELSEWHERE[last]}?"
    known = {name: name for name in [*Recipe.model_fields, *_keys(Recipe), *VERL_NAMES]}
    last_parts = {name.rpartition(".")[2]: name for name in known}
    for word, names, similarity in ((key, known, 0.75), (key.rpartition(".")[2], last_parts, 0.6)):
        close = difflib.get_close_matches(word, names, n=1, cutoff=similarity)
        if close:
            return f"did you mean {names[close[0]]}?"
    return f"known are {', '.join(Recipe.model_fields)}"


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key of the schema."""
    for name, field in section.model_fields.items():
        if name == "window":
            kinds: list[type[BaseModel]] = list(_STRATEGIES.values())
        else:
            kinds = [kind for kind in (field.annotation,) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for kind in kinds:
            yield from _keys(kind, f"{prefix}{name}.")
        if not kinds:
            yield f"{prefix}{name}"
