"""The bar is in terminals alone, and says what is going on."""

import io

from rich.console import Console

from mixgrpo.runs.bar import Bar
from runs import small_trainer


def shown(terminal: bool, quiet: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, quiet=quiet, width=100)
    bar = Bar(console, 6)
    with bar.on():
        bar.stage("drawing")
        bar.done(2, "0:40")
        console.print("a line")
    return out.getvalue()


def test_a_terminal_sees_stage_and_time_left() -> None:
    seen = shown(terminal=True)
    assert all(part in seen for part in ("2/6", "drawing", "0:40 left", "a line"))


def test_a_file_gets_lines_alone() -> None:
    assert shown(terminal=False) == "a line\n"
    assert shown(terminal=True, quiet=True) == ""


def test_an_iteration_tells_its_stages() -> None:
    trainer = small_trainer()
    stages: list[str] = []
    trainer.on_stage = stages.append
    trainer.iterate()
    assert stages == ["drawing", "waiting for rewards", "learning"]
