"""Files that a recipe names, made absolute, so that it means the same from every folder."""

import os
from pathlib import Path
from typing import Any

from mixgrpo.data.sources import named_file

# Options of rewards that hold a name, not a path.
_NAMES = ("url", "urls", "model", "weight")


def anchored(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths are seen from `folder`. What is absolute stays, so that each layer of a recipe can be anchored
    where it was written. A reward's label stays too: metrics are called by it.
    """
    anchored = dict(data)
    for section, anchor in _ANCHORS.items():
        if isinstance(data.get(section), dict):
            anchored[section] = anchor(data[section], folder)
    return anchored


def _model(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A path that is no folder is a repository on the hub."""
    path = fields.get("path")
    if isinstance(path, str) and (path.startswith(("./", "../")) or ("/" in path and _exists(path, folder))):
        return {**fields, "path": _absolute(path, folder)}
    return fields


def _prompts(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        key: _absolute(value, folder) if isinstance(value, str) and named_file(value) else value
        for key, value in fields.items()
    }


def _speed(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    cache = fields.get("text_cache")
    return {**fields, "text_cache": _absolute(cache, folder)} if isinstance(cache, str) else fields


def _rewards(entries: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {label: _reward(label, entry, folder) for label, entry in entries.items()}


def _reward(label: str, entry: Any, folder: Path) -> Any:
    options = entry if isinstance(entry, dict) else {"weight": entry}
    if _is_function(label) and options.get("reward") is None and _option(label, folder) != label:
        options = {**options, "reward": label}
    elif not isinstance(entry, dict):
        return entry
    return {key: value if key in _NAMES else _option(value, folder) for key, value in options.items()}


def _option(value: Any, folder: Path) -> Any:
    """What may be a name of another kind is a path if there is a file. So is a function's file in the working
    directory: an error then shows it as it was typed.
    """
    if not isinstance(value, str) or not ("/" in value or "." in value):
        return value
    is_function = _is_function(value)
    surely = is_function and folder != Path()
    file = value.rpartition(":")[0] if is_function else value
    return _absolute(value, folder) if surely or _exists(file, folder) else value


def _is_function(name: str) -> bool:
    """path/to/file.py:function"""
    return name.rpartition(":")[0].endswith(".py")


def _exists(path: str, folder: Path) -> bool:
    try:
        return (folder / path).exists()
    except OSError:  # a name that is too long for a file's
        return False


def _absolute(path: str, folder: Path) -> str:
    return os.path.normpath(folder.absolute() / path)


_ANCHORS = {"model": _model, "prompts": _prompts, "rewards": _rewards, "speed": _speed}
