"""`mixgrpo sample` and `mixgrpo eval`: what a run's result draws, and how good it is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .arguments import RunPath
from .errors import training_errors


def sample(
    run: RunPath,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="One image each.")],
    out: Annotated[Path, typer.Option(help="The folder for the PNG files.")] = Path("samples"),
    steps: Annotated[int, typer.Option(min=1, help="Euler steps.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    fraction: Annotated[
        float,
        typer.Option(
            "--hybrid", min=0, max=1, help="Fraction of the steps by the tuned model; the base model does the rest."
        ),
    ] = 1.0,
) -> None:
    """Draw images with a run's tuned model."""
    with training_errors():
        from mixgrpo.runs.sample_files import sample_to_files

        for path in sample_to_files(run, prompts, out, steps=steps, seed=seed, fraction=fraction):
            typer.echo(str(path))


def evaluate(
    run: RunPath,
    count: Annotated[
        int | None, typer.Option("--prompts", min=1, help="Number of prompts. Default: the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Euler steps. Default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise, the same for both models.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Compare a run's tuned model with its base on held-out prompts, per kind, from the same noise."""
    with training_errors():
        from mixgrpo.runs.comparison import compare, print_comparison

        result = compare(run, count=count, steps=steps, seed=seed)
        if as_json:
            typer.echo(json.dumps(result, indent=2))
        else:
            print_comparison(result)
