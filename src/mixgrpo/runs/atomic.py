"""Files that are either complete or not there: written under a temporary name, flushed to the disk, then renamed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image


def write_text(path: Path, text: str) -> None:
    _write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """NaN is no JSON: it is an error here."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def save_image(path: Path, image: Image.Image) -> None:
    _write(path, lambda temporary: image.save(temporary, format="PNG"))


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    write(temporary)
    flush(temporary)
    temporary.replace(path)


def flush(path: Path) -> None:
    """Onto the disk, not only into the system's cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def readable(path: Path) -> None:
    """The permissions that the umask gives a new file. safetensors makes files that only their owner can read."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
