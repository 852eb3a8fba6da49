"""Tokens and API keys. They come from the environment or a file, never from a recipe or a command line, which other
people can read.
"""

import os
from pathlib import Path


def from_environment(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ValueError(f"the environment variable {variable} is not set: it must hold the token")
    return value


def from_file(path: Path) -> str:
    value = path.read_text(encoding="utf-8").strip()
    if not value:
        raise ValueError(f"{path} is empty: it must hold the token")
    return value
