"""A run hears what is asked of it from outside."""

from pathlib import Path
from typing import Any

from mixgrpo.data.prompts import prompts_of
from mixgrpo.runs.callbacks import Callback
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.requests import ask, heard
from mixgrpo.runs.run import Run
from runs import PROMPTS, small_trainer


class Outside(Callback):
    """Asks for an evaluation after the first iteration, and for a stop after the third."""

    def on_iteration_end(self, run: Any, metrics: dict[str, Any]) -> None:
        if metrics["iteration"] == 0:
            ask(run.folder.path, "evaluate")
        if metrics["iteration"] == 2:
            ask(run.folder.path, "stop")


def test_a_run_evaluates_and_stops_when_it_is_asked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    trainer = small_trainer(iterations=6, evaluation={"steps": 2, "prompts": 2})
    folder.create(trainer.recipe)
    Run(trainer, prompts_of(PROMPTS), folder, [Outside()]).run()
    lines = folder.lines()[0]
    assert [("evaluation" in line) for line in lines] == [False, True, False]
    assert folder.evaluation(2).is_file()
    assert not [*folder.path.glob("request-*")]
    assert folder.checkpoints.newest()[0] == 3


def test_a_request_is_heard_once(tmp_path: Path) -> None:
    assert not heard(tmp_path, "stop")
    ask(tmp_path, "stop")
    ask(tmp_path, "stop")
    assert not heard(tmp_path, "evaluate")
    assert heard(tmp_path, "stop")
    assert not heard(tmp_path, "stop")
