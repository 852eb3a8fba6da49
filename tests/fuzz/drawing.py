"""What the fuzz tests draw from, and what they ask of every answer.

`make test` draws a few examples, the same each time; `make fuzz` draws others, MIXGRPO_FUZZ_EXAMPLES a test.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from mixgrpo.recipe.keys import STRATEGIES
from mixgrpo.recipe.load import shipped_recipes
from mixgrpo.recipe.presets import PRESETS
from mixgrpo.recipe.schema import Recipe
from mixgrpo.recipe.verl import VERL_NAMES

_EXAMPLES = os.environ.get("MIXGRPO_FUZZ_EXAMPLES")
_SECONDS = 2.0

fuzzed = settings(
    max_examples=int(_EXAMPLES or 100),
    derandomize=_EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

words = st.sampled_from(
    [
        *(
            "scenes",
            "python",
            "tiny",
            "some/where",
            "./here",
            "mine.txt",
            "own.py:score",
            "vlm-judge",
            "geneval",
            "ocr",
        ),
        *("http://127.0.0.1:1", "http://[", "ftp://x", "full", "lora", "euler", "dpm++3", "suffix", "model", "cps"),
        *(
            *PRESETS,
            *STRATEGIES,
            *shipped_recipes(),
            "image-credit",
            "float32",
            "null",
            "",
            " ",
            "a" * 3000,
            "\0",
            "../..",
        ),
    ]
)
text = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
integers = st.integers() | st.integers(-3, 30) | st.sampled_from([10**7, 10**4, 2**63, 10**400, -(10**30), 512])
floats = st.floats() | st.floats(0, 2) | st.sampled_from([1e308, 1e-308, 0.999, 100.0])
scalars = st.none() | st.booleans() | integers | floats | text | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | text, inner, max_size=4), max_leaves=8
)


def _fields(section: type[BaseModel]) -> list[str]:
    return [*section.model_fields]


FIELDS: dict[str, list[str]] = {
    name: _fields(kind)
    for name, field in Recipe.model_fields.items()
    if isinstance(kind := field.annotation, type) and issubclass(kind, BaseModel)
}
FIELDS["window"] = [*dict.fromkeys(name for kind in STRATEGIES.values() for name in _fields(kind))]
FIELDS["rewards"] = ["scenes", "ocr", "own.py:score", "geneval", "vlm-judge", "a.b", ""]
KEYS = [*Recipe.model_fields, *VERL_NAMES, "extends", *(f"{name}.{field}" for name in FIELDS for field in FIELDS[name])]


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """Recipes that are right in most places, so that the checks behind the first ones are reached as well."""
    data: dict[str, Any] = {"model": {"path": "tiny"}} if draw(st.integers(0, 9)) else {}
    for key in draw(st.lists(st.sampled_from(KEYS) | words | text, max_size=6)):
        section, dot, field = key.partition(".")
        if not dot:
            data[section] = draw(values)
        elif isinstance(data.setdefault(section, {}), dict):
            data[section][field] = draw(values)
    return data


@contextmanager
def answered_soon() -> Iterator[None]:
    """In seconds of this process, whatever else the machine does."""
    start = time.process_time()
    yield
    spent = time.process_time() - start
    assert spent < _SECONDS, f"took {spent:.1f} s"


def check_sentences(error: Exception, *named: str) -> None:
    """Lines that can be read, of which each names one of these."""
    lines = str(error).split("\n")
    for line in lines:
        assert len(line) < 4000
        assert line.isprintable(), ascii(line)
        assert any(name in line for name in named), line
        assert " object at 0x" not in line
