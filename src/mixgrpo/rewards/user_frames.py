"""Where in somebody's own code an error arose."""

import os
import sysconfig
import traceback
from pathlib import Path

import mixgrpo

_OTHERS = (
    str(Path(mixgrpo.__file__).parent) + os.sep,
    *(sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "purelib", "platlib")),
)
_SHOWN = 3


def user_frames(error: BaseException) -> list[str]:
    """The innermost frames outside of this package, Python and what is installed: 'my.py, line 12, in score: ...'."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OTHERS)]
    return [f"  {frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-_SHOWN:]]
