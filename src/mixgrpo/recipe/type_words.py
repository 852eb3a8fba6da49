"""The type of a setting in words, with its bounds: `number above 0, at most 1`."""

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic.fields import FieldInfo

from mixgrpo.section import alternatives

_WORDS: dict[object, str] = {int: "integer", float: "number", str: "text", bool: "true or false"}
_ABSURD = 10_000
"""Upper bounds from here on are only there to refuse the absurd, and are left out."""


def as_yaml(value: object) -> str:
    match value:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case tuple():
            return f"[{', '.join(as_yaml(part) for part in value)}]"
        case float():
            return f"{value:g}"
        case _:
            return str(value) or '""'


def in_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return in_words(parts[0], _flat(parts[1:]))
    if origin is Literal:
        return alternatives(map(str, parts))
    if origin in (Union, types.UnionType):
        return alternatives(in_words(part, metadata) for part in parts)
    if origin is list or (origin is tuple and parts[-1] is Ellipsis):
        return f"list of {in_words(parts[0])}"
    if origin is tuple:
        return f"[{'; '.join(map(in_words, parts))}]"
    if annotation is type(None):
        return "null"
    return _WORDS[annotation] + _bounds(metadata)


def _bounds(metadata: Sequence[Any]) -> str:
    """Of numbers: ` from 1 to 100`, ` above 0`."""
    said: dict[str, str] = {}
    for part in metadata:
        match part:
            case Ge(ge=bound):
                said["at least"] = as_yaml(bound)
            case Gt(gt=bound):
                said["above"] = as_yaml(bound)
            case Le(le=float() | int() as bound) if bound < _ABSURD:
                said["at most"] = as_yaml(bound)
            case Lt(lt=float() | int() as bound) if bound < _ABSURD:
                said["below"] = as_yaml(bound)
            case MultipleOf(multiple_of=unit):
                said["a multiple of"] = as_yaml(unit)
    if "at least" in said and "at most" in said:
        said = {"from": f"{said.pop('at least')} to {said.pop('at most')}", **said}
    return ",".join(f" {word} {bound}" for word, bound in said.items())


def _flat(metadata: Sequence[Any]) -> list[Any]:
    """Constraints, those in a pydantic field too."""
    return [part for outer in metadata for part in (outer.metadata if isinstance(outer, FieldInfo) else [outer])]
