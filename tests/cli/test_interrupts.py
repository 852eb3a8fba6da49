"""Ctrl-C where nothing is being trained yet: a sentence, whatever the code that it meets makes of an interrupt."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WAITING = """
import os
import threading

os.write(1, b"here\\n")
try:
    threading.Event().wait()
except KeyboardInterrupt:
    raise ImportError("this package is broken")  # as numpy does

def score(images, prompts):
    return [0.0] * len(images)
"""


@pytest.mark.parametrize("where", ["typer", "diffusers", "own"])
def test_ctrl_c_while_loading_is_a_sentence(tmp_path: Path, where: str) -> None:
    """In what the command line itself imports, in a library, and in a user's reward."""
    (tmp_path / f"{where}.py").write_text(WAITING)
    arguments = ["train", f'rewards={{"{tmp_path}/own.py:score": 1.0}}', "--out", str(tmp_path / "run")]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "mixgrpo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors == "stopped at once: nothing was being trained\n"
    assert process.returncode == 130
