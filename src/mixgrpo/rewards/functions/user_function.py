"""Load a user's own function from a Python file: `path/to/file.py:function`."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load_function(reference: str) -> Callable[..., Any]:
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"{reference}: there is no Python file {file!r}; write path/to/file.py:function")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if name not in vars(module):
        raise ValueError(f"{reference}: {path} has no function {name}")
    function: Callable[..., Any] = vars(module)[name]
    return function
