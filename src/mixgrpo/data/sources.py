"""Where a recipe's prompts come from: a file, one of its two halves, or a source by name."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .files import FORMS, is_prompt_file
from .prompts import Prompt, prompts_of, spread
from .stream import Stream

# Modules with `train_rows(seed, count)` and `evaluation_rows()`.
SOURCES = {"scenes": "mixgrpo.scenes.source"}

PYTHON = "python"
"""The prompts were given as Python objects, to a trainer. They cannot be found again by this name."""

_TRAIN, _HELD_OUT = "#train", "#held-out"
_ONE_IN, _MOST_HELD_OUT = 10, 512


def train_prompts(source: str, seed: int, count: int) -> Sequence[Prompt]:
    """The `count` prompts that a run needs, or all of a file."""
    if source not in SOURCES:
        return _of_file(source)
    built_in = _built_in(source)
    return Stream(lambda first: prompts_of(built_in.train_rows(seed, first)), count)


def evaluation_prompts(source: str) -> list[Prompt]:
    return prompts_of(_built_in(source).evaluation_rows()) if source in SOURCES else _of_file(source)


def both_halves(source: str) -> tuple[str, str]:
    """The sources of training and evaluation prompts that one name stands for."""
    return (f"{source}{_TRAIN}", f"{source}{_HELD_OUT}") if named_file(source) else (source, source)


def named_file(source: str) -> bool:
    return source not in SOURCES and source != PYTHON


def _built_in(source: str) -> Any:
    return import_module(SOURCES[source])


def _of_file(source: str) -> list[Prompt]:
    if source == PYTHON:
        raise ValueError("prompts python: they were given as Python objects; name a file of them instead")
    path, half = _halved(source)
    if not is_prompt_file(path):
        raise ValueError(f"prompts {str(path)!r}: must be {', '.join(SOURCES)}, or a {FORMS} file that exists")
    prompts = prompts_of(path)
    return prompts if half is None else _half(prompts, half, path)


def _halved(source: str) -> tuple[Path, str | None]:
    for half in (_TRAIN, _HELD_OUT):
        if source.endswith(half):
            return Path(source.removesuffix(half)), half
    return Path(source), None


def _half(prompts: list[Prompt], half: str, path: Path) -> list[Prompt]:
    """One prompt in ten is held out, spread evenly over the file; the others train, without copies of those."""
    held_out = spread(prompts, min(_MOST_HELD_OUT, max(1, len(prompts) // _ONE_IN)))
    texts = {prompt.text for prompt in held_out}
    rest = [prompt for prompt in prompts if prompt.text not in texts]
    if not rest:
        raise ValueError(f"prompts {str(path)!r}: needs at least two different prompts, one of them for evaluation")
    return rest if half == _TRAIN else held_out
