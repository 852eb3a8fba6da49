"""A command's words to keys and plain values: `--flag value` and Hydra's `key=value`."""

import ast
import re
from collections.abc import Sequence
from typing import Any

from .errors import ConvertError
from .shell import commands

Pairs = list[tuple[str, Any]]

_OVERRIDE = re.compile(r"[+~]{0,2}([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
_FLAG = re.compile(r"--?([A-Za-z]\w*(?:[-_]\w+)*)(?:=(.*))?", re.DOTALL)
_NAMED = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
_LAUNCHERS = {"torchrun", "python", "python3", "accelerate", "deepspeed"}


def flags(text: str) -> Pairs:
    """Of the one command that trains, in order. Its launcher's options are among them: they say how many processes
    there are.
    """
    pairs: Pairs = []
    words = _command(text, lambda words: any(re.search(r"train\w*\.py$", word) for word in words), "--")
    for word in words:
        found = _FLAG.fullmatch(word)
        if found:
            pairs.append((found[1].replace("-", "_"), True if found[2] is None else plain(found[2])))
        elif word.startswith("$@"):
            pairs.append((word, True))
        elif pairs and pairs[-1][1] is True and not word.endswith(".py"):
            pairs[-1] = (pairs[-1][0], plain(word))
        elif not word.endswith(".py") and word not in _LAUNCHERS and word != "launch":
            pairs.append((word, True))
    return pairs


def overrides(text: str) -> Pairs:
    """Hydra's, in order."""
    words = _command(text, lambda words: any("verl_omni" in word or "main_diffusion" in word for word in words), "")
    found = [_OVERRIDE.fullmatch(word) for word in words]
    started = next((at for at, each in enumerate(found) if each and "." in each[1]), 0)
    return [(each[1], plain(each[2])) if each else (words[at], True) for at, each in enumerate(found) if at >= started]


def plain(text: str) -> Any:
    """The value that a word stands for. Words in lists need no quotes, as Hydra reads them."""
    if text in _NAMED:
        return _NAMED[text]
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text) if len(text) < 20 else text
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)
    if re.fullmatch(r"[\[(].*[\])]", text, re.DOTALL):
        try:
            return list(ast.literal_eval(text))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return [plain(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    return text


def _command(text: str, trains: Any, start: str) -> Sequence[str]:
    """The one command that trains; or, where there is none, the lines that are nothing but its options."""
    everything = commands(text)
    training = [words for words in everything if trains(words)]
    if len(training) > 1:
        raise ConvertError(f"{len(training)} commands that train: keep the one that is to be converted")
    if training:
        return training[0]
    bare = [words for words in everything if _is_option(words[0], start)]
    return [word for words in bare for word in words]


def _is_option(word: str, start: str) -> bool:
    found = _OVERRIDE.fullmatch(word)
    return word.startswith("--") if start else bool(found and "." in found[1])
