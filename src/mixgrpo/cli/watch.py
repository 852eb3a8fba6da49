"""`mixgrpo watch`: the report of a run while it goes on."""

import signal
from typing import Annotated

import typer

from mixgrpo.signals import raising

from .arguments import RunPath
from .errors import as_sentences


def watch(
    run: RunPath, port: Annotated[int, typer.Option(min=0, help="On this machine alone. 0: any that is free.")] = 8500
) -> None:
    """Show a run's report while it trains, with buttons that ask it to evaluate now or to stop."""
    from .together import quiet_libraries

    quiet_libraries()
    from mixgrpo.report.live import live_page
    from mixgrpo.runs.folder import RunFolder

    with as_sentences(ValueError, OSError):
        RunFolder(run).load_recipe()
        with raising(), live_page(run, port) as address:
            typer.echo(f"watch {run} at {address}")
            try:
                signal.pause()
            except KeyboardInterrupt:
                typer.echo("the page is closed; the run goes on")
