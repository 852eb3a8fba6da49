"""Tokens and API keys. They come from the environment or a file, never from a recipe or a command line, which other
people can read. No error shows one.
"""

import os
from pathlib import Path


def from_environment(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ValueError(f"the environment variable {variable} is not set: it must hold the token")
    return _sendable(value, f"the environment variable {variable}")


def from_file(path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: it must hold the token alone") from None
    if not value:
        raise ValueError(f"{path} is empty: it must hold the token")
    return _sendable(value, str(path))


def _sendable(token: str, where: str) -> str:
    if not token.isprintable() or any(ord(character) > 0xFF for character in token):
        raise ValueError(
            f"{where} holds a token that no HTTP header can carry: it must be one line of printable Latin-1 characters"
        )
    return token
