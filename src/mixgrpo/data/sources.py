"""Where prompts come from: a file, or a built-in source by name."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from .prompts import Prompt, prompts_of

# Modules with `train_rows(seed, count)` and `evaluation_rows()`.
SOURCES = {"scenes": "mixgrpo.scenes.source"}


def train_prompts(source: str, seed: int, count: int) -> list[Prompt]:
    """At least the `count` prompts that a run needs, or all of a file."""
    rows = _built_in(source).train_rows(seed, count) if source in SOURCES else _file_rows(source)
    return prompts_of(rows)


def evaluation_prompts(source: str) -> list[Prompt]:
    rows = _built_in(source).evaluation_rows() if source in SOURCES else _file_rows(source)
    return prompts_of(rows)


def _built_in(source: str) -> Any:
    return import_module(SOURCES[source])


def _file_rows(source: str) -> list[Any]:
    path = Path(source)
    if path.suffix not in (".txt", ".jsonl") or not path.is_file():
        raise ValueError(f"prompts {source!r}: must be {', '.join(SOURCES)}, or a .txt or .jsonl file that exists")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"prompts {source!r}: the file has no prompts")
    return lines if path.suffix == ".txt" else [json.loads(line) for line in lines]
