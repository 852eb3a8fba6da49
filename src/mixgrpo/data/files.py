"""Reading files of prompts: .txt has a prompt a line; .jsonl and .csv have rows with a column `prompt`."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Located = tuple[str, Any]
"""Where a row stands, for errors, and the row."""

FORMS = ".txt, .jsonl or .csv"


def read_rows(path: Path) -> Iterator[Located]:
    if not is_prompt_file(path):
        raise ValueError(f"prompts {str(path)!r}: must be a {FORMS} file that exists")
    rows = [*_READERS[path.suffix](path)]
    if not rows:
        raise ValueError(f"prompts {str(path)!r}: the file has no prompts")
    yield from rows


def is_prompt_file(path: Path) -> bool:
    try:
        return path.suffix in _READERS and path.is_file()
    except OSError:  # a name that is too long for a file's
        return False


def _text_rows(path: Path) -> Iterator[Located]:
    yield from _lines(path)


def _json_rows(path: Path) -> Iterator[Located]:
    for where, line in _lines(path):
        try:
            row = json.loads(line, object_pairs_hook=_without_duplicates)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not valid JSON: {error.msg} at character {error.pos + 1}") from None
        except ValueError as error:  # a duplicate key, or a number of more digits than Python reads
            raise ValueError(f"{where}: {str(error).partition(';')[0]}") from None
        except RecursionError:
            raise ValueError(f"{where}: nested too deep") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where}: must be an object with a key `prompt`, not {type(row).__name__}")  # noqa: TRY004
        yield where, row


def _csv_rows(path: Path) -> Iterator[Located]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{path} line {line}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = cells
                if len(set(header)) < len(header):
                    raise ValueError(f"{where}: a column is named twice")
            elif len(cells) != len(header):
                raise ValueError(f"{where}: {len(cells)} cells: must be {len(header)}, as in the first line")
            else:
                yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} line {reader.line_num}: not valid CSV: {error}") from None


_READERS = {".txt": _text_rows, ".jsonl": _json_rows, ".csv": _csv_rows}


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Lines that are not blank. They end in a line feed, with or without a carriage return. What else Unicode calls a
    line's end may be part of a prompt.
    """
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path} line {number}", line.removesuffix("\r")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} line {line}: not text in UTF-8") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key is given twice")
    return row
