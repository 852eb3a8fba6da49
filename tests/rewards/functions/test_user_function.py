"""Files of rewards as people write them, and those that cannot be loaded."""

import re
import sys
from pathlib import Path

import pytest

from mixgrpo.rewards.functions.user_function import load_function

TWO_FUNCTIONS_AND_A_DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass

loaded = []

@dataclass
class Weights:
    size: int = 3

def one(images, prompts, **metadata):
    return loaded

def other(images, prompts, **metadata):
    return loaded
"""


def test_a_file_is_executed_once_and_may_define_dataclasses(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TWO_FUNCTIONS_AND_A_DATACLASS, encoding="utf-8")
    one, other = load_function(f"{file}:one"), load_function(f"{file}:other")
    assert one([], []) is other([], [])
    assert sys.modules[one.__module__].Weights().size == 3


def test_files_of_one_name_in_two_folders_are_two_files(tmp_path: Path) -> None:
    for name in ("json", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "json.py").write_text(f"def score(images, prompts): return {name!r}\n", encoding="utf-8")
    assert [load_function(f"{tmp_path / name / 'json.py'}:score")([], []) for name in ("json", "other")] == [
        "json",
        "other",
    ]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"\ndef score(images, prompts)\n    return 1\n", "line 2: SyntaxError: expected ':'"),
        (
            b"import math\nimport nothing_like_this\n",
            "line 2: ModuleNotFoundError: No module named 'nothing_like_this'",
        ),
        (b"import sys\n\nsys.exit(0)\n", "line 3: SystemExit: 0"),
        (b"table = {}\ndef find():\n    return table['a']\nfind()\n", "line 3: KeyError: 'a'"),
        (b"text = '\xff'\n", "line 1: SyntaxError: "),
    ],
)
def test_a_file_that_cannot_be_executed_is_named_with_the_line(tmp_path: Path, source: bytes, sentence: str) -> None:
    file = tmp_path / "broken.py"
    file.write_bytes(source)
    for _ in range(2):  # what failed is not taken for loaded
        with pytest.raises(ValueError, match=re.escape(f"{file}, {sentence}")) as error:
            load_function(f"{file}:score")
        assert "\n" not in str(error.value)


def test_what_is_no_function_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("score = 5\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no function score"):
        load_function(f"{file}:score")
