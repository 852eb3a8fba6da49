"""Every key of a recipe, read off the schema: what `mixgrpo explain` and the reference print, and what an error about
an unknown key proposes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.sampling.window import WindowStrategy
from mixgrpo.section import alternatives, one_line

from .objectives import OBJECTIVES
from .schema import Recipe
from .type_words import as_yaml, in_words

STRATEGIES: dict[str, type[BaseModel]] = {
    kind.model_fields["strategy"].annotation.__args__[0]: kind for kind in get_args(get_args(WindowStrategy)[0])
}

TAGGED: dict[str, tuple[str, Mapping[str, type[BaseModel]]]] = {
    "window": ("strategy", STRATEGIES),
    "objective": ("type", OBJECTIVES),
}
"""Sections in which one key decides which others there are."""

_REWARD = "rewards.NAME"


@dataclass(frozen=True)
class Key:
    name: str
    """Dotted, as on the command line: `window.size`."""
    type: str
    """What it may be, with its bounds, in words."""
    default: str
    """As YAML has it; empty where it must be given."""
    meaning: str
    kinds: tuple[str, ...] = ()
    """Where a section has kinds, those that have this key; empty: all of them."""


def keys() -> list[Key]:
    """In the order of the schema. A key that several kinds of a section share is one, if it means the same in them."""
    return [*_keys_of(Recipe)]


def key_names() -> list[str]:
    return [*dict.fromkeys(key.name for key in keys() if not key.name.startswith(_REWARD))]


def sections() -> dict[str, str]:
    """What a recipe's sections are for."""
    return {name: field.description or "" for name, field in Recipe.model_fields.items() if _section(name, field)}


def kinds_of(section: str) -> dict[str, str]:
    """The kinds of a section, and what each does."""
    _, kinds = TAGGED.get(section, ("", {}))
    meanings = {name: one_line(kind.__doc__) for name, kind in kinds.items()}
    return {name: meaning if [*meanings.values()].count(meaning) == 1 else "" for name, meaning in meanings.items()}


def _keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    for name, field in section.model_fields.items():
        path = prefix + name
        if name in TAGGED and not prefix:
            yield from _keys_of_kinds(path)
        elif name == "rewards" and not prefix:
            yield from _keys_of(RewardConfig, f"{_REWARD}.")
        elif (nested := _section(name, field)) is not None:
            yield from _keys_of(nested, f"{path}.")
        else:
            yield Key(path, _type(field), _default(field), one_line(field.description))


def _keys_of_kinds(section: str) -> Iterator[Key]:
    """The key that decides comes first. What it says of several kinds is said there."""
    tag, kinds = TAGGED[section]
    default = Recipe.model_fields[section].default
    said = one_line(type(default).model_fields[tag].description)
    yield Key(
        f"{section}.{tag}", alternatives(kinds), getattr(default, tag), said or "Decides which other keys it has."
    )
    found: dict[Key, list[str]] = {}
    for name, kind in kinds.items():
        for key in _keys_of(kind, f"{section}."):
            if key.name != f"{section}.{tag}":
                found.setdefault(key, []).append(name)
    for key, owners in found.items():
        yield replace(key, kinds=() if len(owners) == len(kinds) else tuple(owners))


def _section(name: str, field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    if name in TAGGED:
        return next(iter(TAGGED[name][1].values()))
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    return as_yaml(field.get_default(call_default_factory=True))


def _type(field: FieldInfo) -> str:
    return in_words(field.annotation, field.metadata)
