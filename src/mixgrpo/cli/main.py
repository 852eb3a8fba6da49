"""The `mixgrpo` command. What needs torch is imported by the command that needs it."""

from collections.abc import Callable
from typing import Annotated

import typer

from mixgrpo import __version__

from .bench import bench
from .check import check
from .convert import convert
from .doctor import doctor
from .explain import explain
from .report import report
from .results import evaluate, export, sample
from .serve import serve_reward
from .show import models, plan, recipes
from .train import BareRay, resume, train
from .watch import watch

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


_COMMANDS: dict[str, list[tuple[str, Callable[..., None], tuple[str, ...]]]] = {
    "Before": [
        ("doctor", doctor, ()),
        ("recipes", recipes, ()),
        ("models", models, ()),
        (
            "plan",
            plan,
            ("mixgrpo plan scenes window.size=2", "mixgrpo plan flux-dev-hpdv2 --gpus 1 --gpu-memory 24GB --fit"),
        ),
        ("explain", explain, ("mixgrpo explain window.size", "mixgrpo explain clip_fraction")),
        (
            "convert",
            convert,
            ("mixgrpo convert finetune_flux_grpo.sh --out mine.yaml", "mixgrpo convert config/grpo.py:geneval_sd3"),
        ),
    ],
    "Train": [
        (
            "train",
            train,
            (
                "mixgrpo train scenes",
                "mixgrpo train scenes tune=lora iterations=40",
                "mixgrpo train my.yaml rewards.own.py:score=0.5 --out runs/mine",
                "torchrun --nproc-per-node 8 -m mixgrpo train RECIPE --out runs/mine",
            ),
        ),
        ("watch", watch, ("mixgrpo watch runs/mine",)),
        ("resume", resume, ("mixgrpo resume runs/mine", "mixgrpo resume runs/mine iterations=200")),
    ],
    "After": [
        ("eval", evaluate, ("mixgrpo eval runs/mine",)),
        ("report", report, ("mixgrpo report runs/mine", "mixgrpo report runs/a runs/b --out both.html")),
        ("sample", sample, ('mixgrpo sample runs/mine "a red star left of a blue circle"',)),
        ("export", export, ("mixgrpo export runs/mine --checkpoint best",)),
    ],
    "For those who build on it": [
        ("check", check, ("mixgrpo check /models/FLUX.1-dev --height 256 --width 256",)),
        ("serve-reward", serve_reward, ("mixgrpo serve-reward hpsv2 --port 8300",)),
        ("bench", bench, ("mixgrpo bench",)),
    ],
}
"""By what they are for, with examples."""

for panel, commands in _COMMANDS.items():
    for name, command, examples in commands:
        shown = "\n\n".join(["Examples:", *examples]) if examples else None
        kind = BareRay if command is train else None
        app.command(name, cls=kind, rich_help_panel=panel, epilog=shown)(command)
