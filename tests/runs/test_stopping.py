import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mixgrpo.data.prompts import prompts_of
from mixgrpo.runs.callbacks import Callback
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.run import Run
from runs import PROMPTS, small_trainer

WAITING = """
from torch.distributed import TCPStore
from mixgrpo.runs.stopping import StopRequests

with StopRequests().by_signals(quiet=False):
    print("waiting", flush=True)
    TCPStore("127.0.0.1", 0, is_master=True).wait(["what no process ever says"])
"""


COMPUTING = """
import os, sys
from mixgrpo.runs.stopping import StopRequests

sys.setswitchinterval(60)
stop = StopRequests()
with stop.by_signals(quiet=False):
    print("waiting", flush=True)
    try:
        while not stop.signalled:
            pass
        print("computing", flush=True)
        while True:
            pass
    except KeyboardInterrupt:
        os._exit(130)
"""


@pytest.mark.parametrize(("program", "goes_on"), [(WAITING, ""), (COMPUTING, "computing\n")], ids=["waits", "computes"])
def test_a_process_answers_at_once(program: str, goes_on: str) -> None:
    """Its main thread is in torch's own code, where Python runs no handler; or it runs handlers before any other thread
    may say a word.
    """
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping before the next iteration; a second signal stops at once\n"
    if goes_on:
        assert process.stdout.readline() == goes_on
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping at once; the last checkpoint stays\n"
    assert process.wait(10) in (130, -signal.SIGINT)  # by itself, or by the exception if the wait was interrupted


class Interrupt(Callback):
    """Ctrl-C after the evaluation of one iteration, when the next evaluation begins."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_evaluation(self, run: Any, iteration: int, rewards: dict[str, Any]) -> None:
        if iteration == self.iteration:
            os.kill(os.getpid(), signal.SIGINT)


def train(folder: RunFolder, *callbacks: Callback) -> None:
    trainer = small_trainer(iterations=3, evaluation={"every": 2, "steps": 2}, save={"every": 10})
    if not folder.path.exists():
        folder.create(trainer.recipe)
    Run(trainer, prompts_of(PROMPTS), folder, callbacks).run()


def evaluations(folder: RunFolder) -> dict[str, str]:
    files = [*folder.path.glob("evaluation-*.json"), folder.path / "best.json"]
    return {file.name: file.read_text() for file in files if file.exists()}


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in folder.lines()[0]]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "straight")
    train(folder)
    assert [*sorted(evaluations(folder))] == [
        "best.json",
        "evaluation-000000.json",
        "evaluation-000002.json",
        "evaluation-000003.json",
    ]
    return folder


def test_an_evaluation_is_not_waited_for_but_made_up_for(
    straight: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path / "run")
    train(folder, Interrupt(0))
    assert "stopped after iteration 2" in capsys.readouterr().out
    assert evaluations(folder).keys() == {"evaluation-000000.json"}
    assert folder.checkpoints.newest().iteration == 2
    train(folder)
    assert evaluations(folder) == evaluations(straight)
    assert metrics(folder) == metrics(straight)


def test_the_last_evaluation_is_not_waited_for_but_made_up_for(
    straight: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class AtTheEnd(Callback):
        def on_save(self, run: Any, checkpoint: Path) -> None:
            if checkpoint.name == "000003":
                os.kill(os.getpid(), signal.SIGINT)

    folder = RunFolder(tmp_path / "run")
    train(folder, AtTheEnd())
    assert "stopped before the last evaluation; training and export are done" in capsys.readouterr().out
    assert (folder.path / "transformer").is_dir()
    assert "evaluation-000003.json" not in evaluations(folder)
    train(folder)
    assert evaluations(folder) == evaluations(straight)


def test_a_stop_during_a_save_comes_after_the_iteration_beside_it(tmp_path: Path) -> None:
    class AtTheFirstSave(Callback):
        def on_save(self, run: Any, checkpoint: Path) -> None:
            if checkpoint.name == "000000":
                os.kill(os.getpid(), signal.SIGINT)

    folder = RunFolder(tmp_path / "run")
    train(folder, AtTheFirstSave())
    assert folder.checkpoints.iterations() == [0, 1]
    assert len(folder.lines()[0]) == 1
