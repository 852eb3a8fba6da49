"""Hooks into a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run


class Callback:
    """Override what you need. Each method is called on every process."""

    def on_start(self, run: "Run") -> None:
        """Before the first iteration of this process, after a checkpoint has been restored."""

    def on_iteration_end(self, run: "Run", metrics: dict[str, Any]) -> None: ...

    def on_evaluation(self, run: "Run", iteration: int, rewards: dict[str, Any]) -> None:
        """`rewards`: mean by reward and kind of prompt."""

    def on_save(self, run: "Run", checkpoint: Path) -> None:
        """When the checkpoint is complete: it is written during the iteration after the one that it is named for."""

    def on_stop_requested(self, run: "Run") -> None:
        """By a signal or by `run.stop()`; the run saves and ends now."""
