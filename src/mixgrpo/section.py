"""The base of every section of a recipe, and how a failed check is put into a sentence."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails

_MOST_CHARACTERS = 300


class Section(BaseModel):
    """Unknown keys, values of another type, NaN and infinity are errors; a section never changes. A field that is a
    tuple needs `strict=False`, because YAML has lists alone.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def sentence(key: str, detail: ErrorDetails) -> str:
    """One pydantic error, for the value given under `key`."""
    if detail["type"] == "missing":
        return f"{key} is missing: it has no default"
    allowed = re.sub(r"^\w+ should", "must", detail["msg"]).replace("a valid tuple", "a list: [first, second]")
    return f"{key} = {shown(detail['input'])}: {allowed}"


def shown(value: Any) -> str:
    """A value in an error, short enough to be read."""
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def readable(name: str) -> str:
    """A name in an error: short, and escaped where it cannot be printed."""
    name = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in name)
    return name if len(name) <= _MOST_CHARACTERS else f"{name[:_MOST_CHARACTERS]}..."


def one_line(text: str | None) -> str:
    """A docstring without its line breaks."""
    return " ".join((text or "").split())


def is_text(text: str) -> bool:
    """Without NUL and halves of surrogate pairs, which no file or tokenizer takes."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def suggestion(word: str, known: Iterable[str]) -> str:
    """The closest known name, or all of them."""
    names = [*known]
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"


def alternatives(names: Iterable[str]) -> str:
    """a, b or c"""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
