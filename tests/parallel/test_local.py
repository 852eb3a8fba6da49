import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mixgrpo.parallel.local import processes_for

_REWARD = """
import os, signal

def score(images, prompts):
    if os.environ["RANK"] == "1":
        {action}
    return [float(len(prompt)) + i for i, prompt in enumerate(prompts)]
"""

_SMALL = ["iterations=2", "rollout.prompts=2", "rollout.group_size=2", "evaluation.prompts=1", "evaluation.steps=2"]


def train(folder: Path, action: str, **environment: str) -> "subprocess.Popen[str]":
    """By two processes of which the second does something in its reward."""
    (folder / "own.py").write_text(_REWARD.format(action=action))
    arguments = ["train", *_SMALL, f'rewards={{"{folder}/own.py:score": 1.0}}', "--out", str(folder / "run")]
    return subprocess.Popen(
        [sys.executable, "-m", "mixgrpo", *arguments, "--processes", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
    )


def test_a_process_that_the_system_ended_is_named(tmp_path: Path) -> None:
    process = train(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert errors.startswith("process 2 of 2 was ended by SIGKILL"), errors
    assert errors.count("\n") == 1, errors


@pytest.mark.parametrize(
    ("action", "words"),
    [("os._exit(3)", "another process failed"), ("os.kill(os.getpid(), 9)", "process 2 of 2 was ended by SIGKILL")],
)
def test_a_process_that_ends_before_it_joins_is_not_waited_for(tmp_path: Path, action: str, words: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import os\nif os.environ.get('RANK') == '1': {action}\n")
    process = train(tmp_path, "pass", PYTHONPATH=str(tmp_path))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith(words), errors


def test_the_others_end_with_the_first_one(tmp_path: Path) -> None:
    """They hold the other end of its output: it closes when all are gone."""
    process = train(tmp_path, "os.write(1, b'here\\n'); signal.pause()")
    assert process.stdout is not None
    assert any(line == "here\n" for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)


@pytest.mark.parametrize(
    ("cores", "threads", "rank", "prompts", "processes"),
    [
        (8, None, None, 24, 8),
        (8, "1", None, 24, 8),
        (8, "4", None, 24, 2),
        (8, None, None, 3, 3),
        (8, None, "0", 24, 1),
    ],
)
def test_one_process_a_core_that_has_prompts_to_draw(
    cores: int, threads: str | None, rank: str | None, prompts: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for name, value in (("OMP_NUM_THREADS", threads), ("RANK", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert processes_for(prompts) == processes
