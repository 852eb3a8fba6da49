"""The `mixgrpo` command. What needs torch is imported by the command that needs it."""

import typer

from .bench import bench
from .results import evaluate, export, sample
from .serve import serve_reward
from .show import plan, recipes
from .train import resume, train

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Online reinforcement learning for flow-matching text-to-image models."""


for command in (recipes, plan, train, resume, sample, export):
    app.command()(command)
app.command("eval")(evaluate)
app.command()(bench)
app.command("serve-reward")(serve_reward)
