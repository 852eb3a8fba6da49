"""The base of every section of a recipe, and how a failed check is put into a sentence."""

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails


class Section(BaseModel):
    """Unknown keys, NaN and infinity are errors; a section never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def sentence(key: str, detail: ErrorDetails) -> str:
    """One pydantic error, for the value given under `key`."""
    if detail["type"] == "missing":
        return f"{key} is missing: it has no default"
    allowed = detail["msg"].replace("Input should be", "must be").replace("a valid tuple", "a list: [first, second]")
    return f"{key} = {detail['input']!r}: {allowed}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """The closest known name, or all of them."""
    names = [*known]
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"


def alternatives(names: Iterable[str]) -> str:
    """a, b or c"""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
