"""`mixgrpo report`: a page of one or several runs."""

from pathlib import Path
from typing import Annotated

import typer

from .errors import as_sentences


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, side by side if several.")],
    out: Annotated[
        Path | None, typer.Option(help="The file. Default: report.html in the run's folder, or here for several.")
    ] = None,
) -> None:
    """Write a page about runs: one file that opens from disk, without a network."""
    from .together import quiet_libraries

    quiet_libraries()
    from mixgrpo.report.page import NAME, write_report

    file = out or (runs[0] / NAME if len(runs) == 1 else Path(NAME))
    with as_sentences(ValueError, OSError):
        write_report(runs, file)
    typer.echo(str(file))
