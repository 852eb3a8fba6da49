"""The page writes itself while a run goes on."""

from typing import Any

from mixgrpo.parallel import distributed
from mixgrpo.runs.callbacks import Callback
from mixgrpo.runs.run import Run

from .page import NAME, write_report


class ReportWriter(Callback):
    """At every evaluation, the last one too. That a page cannot be written ends no run."""

    def on_evaluation(self, run: Run, iteration: int, rewards: dict[str, Any]) -> None:
        if distributed.rank() != 0 or not run.folder.recipe.is_file():
            return
        folder = run.folder.path
        try:
            write_report([folder], folder / NAME)
        except (OSError, ValueError, KeyError) as error:
            run.progress.say(f"{folder / NAME} could not be written: {error}")
