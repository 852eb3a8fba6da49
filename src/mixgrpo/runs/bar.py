"""The line at the bottom of a terminal: what the run is doing, how far it is, and the time left. Where the output is no
terminal there is none.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

ERASE_LINE = "\r\x1b[2K"
"""For words that are written while the bar is shown, and not by its console."""


class Bar:
    def __init__(self, console: Console, total: int) -> None:
        self.shown = console.is_terminal and not console.quiet
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[stage]}"),
            TextColumn("{task.fields[left]}", style="dim"),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("", total=total, stage="", left="")

    @contextmanager
    def on(self) -> Iterator[None]:
        if not self.shown:  # some versions of rich would end with an empty line
            yield
            return
        with self._progress:
            yield

    def stage(self, stage: str) -> None:
        self._progress.update(self._task, stage=stage)

    def done(self, iterations: int, left: str = "") -> None:
        """So many, and how long the others will take."""
        self._progress.update(self._task, completed=iterations, left=f"{left} left" if left else "")


@contextmanager
def waiting(what: str, quiet: bool) -> Iterator[None]:
    """For work without a bar, such as loading a model."""
    with Console(quiet=quiet).status(what):
        yield
