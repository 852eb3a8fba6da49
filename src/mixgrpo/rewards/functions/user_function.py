"""Load a user's own function from a Python file: `path/to/file.py:function`."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def load_function(reference: str) -> Callable[..., Any]:
    """A file is executed once, however many of its functions are loaded."""
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"{reference}: there is no Python file {file!r}; write path/to/file.py:function")
    module = _module(path.resolve())
    if name not in vars(module) or not callable(vars(module)[name]):
        raise ValueError(f"{reference}: {path} has no function {name}")
    function: Callable[..., Any] = vars(module)[name]
    return function


def _module(path: Path) -> ModuleType:
    name = str(path)  # unlike the file's stem, it is the name of no other module
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up here
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ValueError(f"{path}, line {_line(path, error)}: {type(error).__name__}: {_message(error)}") from error
    return module


def _line(path: Path, error: BaseException) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else 1  # a file that cannot be decoded has no frames


def _message(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)
