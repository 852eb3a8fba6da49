"""The `mixgrpo` command. What needs torch is imported by the command that needs it."""

from typing import Annotated

import typer

from mixgrpo import __version__

from .bench import bench
from .check import check
from .convert import convert
from .doctor import doctor
from .results import evaluate, export, sample
from .serve import serve_reward
from .show import models, plan, recipes
from .train import BareRay, resume, train

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"mixgrpo {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Online reinforcement learning for flow-matching text-to-image models."""


for command in (recipes, models, check, convert, doctor, plan, resume, sample, export):
    app.command()(command)
app.command(cls=BareRay)(train)
app.command("eval")(evaluate)
app.command()(bench)
app.command("serve-reward")(serve_reward)
