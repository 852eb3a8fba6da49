"""The account of a conversion: each key of the source is entered once, as taken, changed or left."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mixgrpo.section import shown

from .errors import ConvertError
from .python_config import Computed

Kind = Literal["took", "changed", "left"]
_SECRET = re.compile(r"(^|_)(key|token|password|secret)$", re.IGNORECASE)

_LARGEST = 10**9


@dataclass(frozen=True)
class Line:
    key: str
    value: Any
    kind: Kind
    ours: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the recipe and what they were set to."""
    note: str = ""
    by_default: bool = False
    """The source leaves the key out, and this is what it then is there."""


@dataclass(frozen=True)
class Rule:
    """What becomes of one key on its own."""

    ours: str | None
    """The recipe's key. None: left, and `note` says why."""
    note: str = ""
    value: Callable[[Any], Any] = lambda value: value


class Ledger:
    def __init__(self, given: Mapping[str, Any], defaults: Mapping[str, Any], repeated: list[tuple[str, Any]]) -> None:
        self._given = {**given, **{key: value for key, value in defaults.items() if key not in given}}
        self._defaults = defaults.keys() - given.keys()
        self.lines: dict[str, Line] = {}
        self.recipe: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        """Keys that the source does not have and the recipe needs, and what to do."""
        self.repeated = [Line(key, hidden(key, value), "left", note="given again later") for key, value in repeated]

    def __contains__(self, key: str) -> bool:
        return key in self._given

    def open(self) -> list[str]:
        """Those that are not entered yet."""
        return [key for key in self._given if key not in self.lines]

    def get(self, key: str, default: Any = None) -> Any:
        value = self._given.get(key, default)
        if isinstance(value, Computed):
            raise ConvertError(f"{key} = {value.text}: is computed there, and nothing is run: write the value instead")
        if isinstance(value, str) and "$" in value:
            raise ConvertError(
                f"{key} = {value}: only a shell can say what that is: write the value instead, or assign the variable "
                "at the top (NAME=value)"
            )
        return value

    def number(self, key: str, default: float = 1) -> Any:
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LARGEST:
            hint = ", or give --gpus N" if key in ("nnodes", "nproc_per_node", "gpu_number") else ""
            raise ConvertError(f"{key} = {shown(value)}: must be a number from above 0 to {_LARGEST:,}{hint}")
        return value

    def took(self, key: str, ours: Mapping[str, Any], note: str = "") -> None:
        self._enter(key, "took", ours, note)

    def changed(self, key: str, ours: Mapping[str, Any], note: str) -> None:
        self._enter(key, "changed", ours, note)

    def left(self, key: str, note: str) -> None:
        self._enter(key, "left", {}, note)

    def needs(self, key: str, value: Any, todo: str) -> None:
        self.missing[key] = todo
        self.set(key, value)

    def apply(self, rules: Mapping[str, Rule]) -> None:
        for key, rule in rules.items():
            if key not in self or key in self.lines:
                continue
            if rule.ours is None:
                self.left(key, rule.note)
                continue
            value = self.get(key)
            ours = rule.value(value)
            self._enter(key, "took" if ours == value else "changed", {rule.ours: ours}, rule.note)

    def finish(self) -> None:
        for key in self.open():
            self.left(key, "unknown here")

    def account(self) -> list[Line]:
        """In the order of the source; what it leaves out comes last."""
        first = [self.lines[key] for key in self._given if key in self.lines]
        return [*self.repeated, *first]

    def set(self, path: str, value: Any) -> None:
        *sections, last = path.split(".") if not path.startswith("rewards.") else ["rewards", path[len("rewards.") :]]
        place = self.recipe
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value

    def _enter(self, key: str, kind: Kind, ours: Mapping[str, Any], note: str) -> None:
        if key not in self or key in self.lines:
            return
        for path, value in ours.items():
            self.set(path, value)
        value = hidden(key, self._given[key])
        value = value.text if isinstance(value, Computed) else value
        self.lines[key] = Line(key, value, kind, ours, note, key in self._defaults)


def renamed(names: Mapping[Any, Any], value: Any) -> Any:
    """What a value is called here; what has no other name goes on as it is, and the recipe's check judges it."""
    return names.get(value, value) if value is None or isinstance(value, str) else value


def hidden(key: str, value: Any) -> Any:
    """What lets someone into an account is not shown."""
    return "(not shown)" if _SECRET.search(key) and isinstance(value, str) else value
