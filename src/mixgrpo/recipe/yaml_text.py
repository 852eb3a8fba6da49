"""YAML text to plain values: mappings, lists, strings, numbers, booleans and null.

ruamel.yaml follows YAML 1.2 (`1e-5` is a number) and refuses duplicate keys. Aliases and tags are refused here, and so
is what no recipe needs but what would stop the program: deep nesting, long files, characters that cannot be printed.
"""

import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

from mixgrpo.section import is_text, one_line, readable

from .errors import RecipeError

_DEEPEST = 20
_LONGEST = 1_000_000  # characters
_MOST_BITS = 1000  # of an integer: more can be neither compared nor shown


def read_yaml(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise RecipeError(f"{path}: not a text file in UTF-8 (byte {error.start} is {byte:#x})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_yaml(text, what=str(path))


def parse_yaml(text: str, what: str) -> Any:
    """`what` names the text in errors."""
    what = readable(what)
    if not is_text(text):
        raise RecipeError(f"{what}: not text in UTF-8")
    if len(text) > _LONGEST:
        raise RecipeError(f"{what}: {len(text):,} characters: must be at most {_LONGEST:,}")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _PlainComposer
    try:
        value = yaml.load(io.StringIO(text))
    except (YAMLError, ValueError) as error:
        raise RecipeError(f"{what}: not valid YAML: {_without_advice(str(error))}") from None
    check_values(value, what)
    return value


class _PlainComposer(Composer):
    """Values as JSON has them: a tree without references, of types that are known without a tag."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent):
            raise YAMLError(f"line {event.start_mark.line + 1}: aliases (*{event.anchor}) are not read")
        if event.ctag is not None and event.ctag.handle is not None:
            raise YAMLError(f"line {event.start_mark.line + 1}: tags ({event.ctag}) are not read")
        if self.depth == _DEEPEST:
            raise YAMLError(f"line {event.start_mark.line + 1}: nested more than {_DEEPEST} deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def check_values(value: Any, what: str) -> None:
    """Refuses what can be neither compared nor shown. `what` names the whole in errors."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isprintable():
                raise RecipeError(f"{what}: the key {readable(str(key))} is not a name: put it in quotes")
            check_values(key, what)
            check_values(item, what)
    elif isinstance(value, list):
        for item in value:
            check_values(item, what)
    elif isinstance(value, str) and not is_text(value):
        raise RecipeError(f"{what}: {value[:100]!a} is not text: it holds a NUL or half a surrogate pair")
    elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise RecipeError(f"{what}: a number of {value.bit_length()} bits: must have at most {_MOST_BITS}")


def _without_advice(text: str) -> str:
    """The library's error on one line, without what it advises to programmers."""
    advice = re.compile(r"To suppress this check.*|; use sys\.set_int_max_str_digits.*", re.DOTALL)
    return readable(one_line(advice.sub("", text)))
