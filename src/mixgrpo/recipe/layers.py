"""Putting one set of keys on top of another: a recipe on the one that it extends, overrides on a recipe.

Some keys decide what others mean. They come first, whatever the order in which they were written, and drop what was
chosen for the value before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mixgrpo.section import readable, shown

from .errors import RecipeError
from .keys import STRATEGIES
from .mistakes import closest
from .objectives import OBJECTIVES
from .presets import PRESET_SECTIONS, PRESETS
from .verl import VERL_NAMES, verl_value
from .yaml_text import parse_yaml

_CHOICES = ("algorithm", "tune", "objective.type", "window.strategy", "suffix.solver")


def layered(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The own keys on top of the base's, sections merged key by key."""
    data = copied(base)
    before = _at(data, "objective.type")
    for key in _CHOICES:
        if _at(own, key) is not None:
            _choose(data, key, _at(own, key))
    for key, value in own.items():
        merged = isinstance(value, dict) and isinstance(data.get(key), dict)
        data[key] = {**data[key], **value} if merged else value
    _check_rate(before, data, rate_given=_at(own, "update.learning_rate") is not None)
    return data


def overridden(base: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The recipe with `key=value` changes. Of a key that is given twice the last value counts."""
    data = copied(base)
    before = _at(data, "objective.type")
    changes = {change.name: change for change in map(_change, overrides)}
    for change in sorted(changes.values(), key=_rank):
        _apply(data, change)
    rate_given = any(name in changes for name in ("update", "update.learning_rate"))
    _check_rate(before, data, rate_given)
    return data


def copied(data: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}


@dataclass(frozen=True)
class _Change:
    name: str
    value: Any

    @property
    def path(self) -> list[str]:
        if self.name.startswith("rewards."):  # a reward's name may be a file's, with a dot
            return ["rewards", self.name.removeprefix("rewards.")]
        return self.name.split(".")


def _change(override: str) -> _Change:
    name, equals, text = override.partition("=")
    if not equals or not name.isprintable() or not name:
        raise RecipeError(f"{shown(override)} is not an override: write key=value, such as window.size=2")
    if name == "extends":
        raise RecipeError(f"{readable(override)}: a recipe file extends another; here, name the other recipe itself")
    return _Change(VERL_NAMES.get(name, name), verl_value(name, parse_yaml(text, what=override)))


def _rank(change: _Change) -> tuple[int, int, bool]:
    """Choices in their order, then whole sections, then single keys."""
    choice = _CHOICES.index(change.name) if change.name in _CHOICES else len(_CHOICES)
    return choice, len(change.path), not isinstance(change.value, dict)


def _apply(data: dict[str, Any], change: _Change) -> None:
    *sections, field = change.path
    value = change.value
    target = data
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise RecipeError(
                f"{readable(change.name)}: {readable(section)} is a value, not a section; {closest(change.name)}"
            )
    if change.name in _CHOICES:
        _choose(data, change.name, value)
    if sections == ["rewards"]:
        field, value = _reward_entry(target, field, value)
    target[field] = value


def _choose(data: dict[str, Any], key: str, value: Any) -> None:
    """Drop what the data say for the value that they have, if it is another."""
    window, suffix, objective = (data.get(name) for name in ("window", "suffix", "objective"))
    if key == "algorithm" and value != data.get("algorithm", "mixgrpo") and value in [*PRESETS]:
        for section in PRESET_SECTIONS:
            data.pop(section, None)
        if isinstance(objective, dict):
            objective.pop("type", None)
        if data.get("description"):
            data["description"] = f"{data['description']} (changed to algorithm: {value})"
    if key == "tune" and value != data.get("tune", "full"):
        data.pop("tune_only" if value == "lora" else "lora", None)
    if key == "window.strategy" and isinstance(window, dict) and isinstance(value, str) and value in STRATEGIES:
        for unknown in window.keys() - STRATEGIES[value].model_fields.keys():
            del window[unknown]
    if key == "objective.type" and isinstance(objective, dict) and isinstance(value, str) and value in OBJECTIVES:
        for unknown in objective.keys() - OBJECTIVES[value].model_fields.keys():
            del objective[unknown]
    if key == "suffix.solver" and isinstance(suffix, dict) and value == "euler":
        suffix.pop("history", None)


def _check_rate(before: Any, data: dict[str, Any], rate_given: bool) -> None:
    if not isinstance(data.get("objective"), dict):
        return
    now = _at(data, "objective.type") or "clipped-ratio"
    if before == "image-credit" and now != before and not rate_given:
        hint = "clipped-ratio needs about a third of it" if now == "clipped-ratio" else f"{shown(now)} needs its own"
        raise RecipeError(
            "update.learning_rate: the recipe's learning rate was tuned for objective.type = image-credit. "
            f"{hint}: set update.learning_rate"
        )


def _at(data: dict[str, Any], key: str) -> Any:
    section, dot, field = key.partition(".")
    fields = data.get(section)
    if not dot:
        return fields
    return fields.get(field) if isinstance(fields, dict) else None


def _reward_entry(rewards: dict[str, Any], key: str, value: Any) -> tuple[str, Any]:
    """The label in `label` or `label.option`, and its new entry. A label may be path/to/file.py:function, which has a
    dot of its own. A number changes the weight and keeps the options; null leaves the reward out.
    """
    path, colon, last = key.rpartition(":")
    label, _, option = last.partition(".")
    label = path + colon + label
    if not option and (value is None or isinstance(value, dict)):
        return label, value
    before = rewards.get(label, {})
    options = before if isinstance(before, dict) else {"weight": before}
    return label, {**options, option or "weight": value}
