"""Whatever stands in a file of prompts is read, or refused in a sentence that names the file."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from drawing import answered_soon, check_sentences, fuzzed, text, values, words
from hypothesis import given
from hypothesis import strategies as st

from mixgrpo.data.prompts import prompts_of

_names = st.sampled_from(["prompt", "kind", "images", "prompts", "n"]) | text
_rows = (
    st.dictionaries(_names, values, max_size=4) | st.fixed_dictionaries({"prompt": text | words, "n": values}) | values
)


@fuzzed
@given(
    st.binary(max_size=300) | text.map(lambda drawn: drawn.encode("utf-8", "surrogatepass")),
    st.sampled_from(["txt", "jsonl", "csv"]),
)
def test_a_file_of_anything(tmp_path: Path, content: bytes, form: str) -> None:
    _read(tmp_path / f"p.{form}", content)


@fuzzed
@given(st.lists(_rows, max_size=4), st.booleans(), st.integers(0, 200))
def test_rows_of_json(tmp_path: Path, rows: list[Any], as_ascii: bool, end: int) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=as_ascii) for row in rows).encode("utf-8", "surrogatepass")
    _read(tmp_path / "p.jsonl", lines if end % 2 else lines[:end])


@fuzzed
@given(st.lists(st.lists(text | _names, max_size=3), max_size=5))
def test_rows_of_csv(tmp_path: Path, rows: list[list[str]]) -> None:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["prompt", "n"], *rows])
    _read(tmp_path / "p.csv", file.getvalue().encode("utf-8", "surrogatepass"))


@fuzzed
@given(st.lists(_rows, max_size=4) | text | st.dictionaries(text, _rows, max_size=2))
def test_rows_from_python(rows: Any) -> None:
    with answered_soon():
        try:
            prompts = prompts_of(rows)
        except ValueError as error:
            check_sentences(error, "prompt", "several datasets")
            return
    assert all(isinstance(prompt.text, str) for prompt in prompts)


def _read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with answered_soon():
        try:
            prompts = prompts_of(path)
        except ValueError as error:
            check_sentences(error, str(path))
            return
    assert prompts
    assert all(prompt.text.strip() for prompt in prompts)
