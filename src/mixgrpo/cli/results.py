"""`mixgrpo sample`, `mixgrpo eval` and `mixgrpo export`: what a run's result draws, how good it is, and its files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .arguments import Checkpoint, Processes, RunPath
from .errors import training_errors


def sample(
    run: RunPath,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="One image each.")],
    out: Annotated[Path, typer.Option(help="The folder for the PNG files.")] = Path("samples"),
    steps: Annotated[int, typer.Option(min=1, help="Euler steps.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    checkpoint: Checkpoint = None,
    fraction: Annotated[
        float,
        typer.Option(
            "--hybrid", min=0, max=1, help="Fraction of the steps by the tuned model; the base model does the rest."
        ),
    ] = 1.0,
) -> None:
    """Draw images with a run's tuned model."""
    with training_errors():
        from .together import quiet_libraries

        quiet_libraries()
        from mixgrpo.runs.sample_files import sample_to_files

        for path in sample_to_files(
            run, prompts, out, steps=steps, seed=seed, fraction=fraction, checkpoint=checkpoint
        ):
            typer.echo(str(path))


def evaluate(
    run: RunPath,
    count: Annotated[
        int | None, typer.Option("--prompts", min=1, help="Number of prompts. Default: the recipe's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Euler steps. Default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise, the same for both models.")] = 0,
    checkpoint: Checkpoint = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    processes: Processes = None,
) -> None:
    """Compare a run's tuned model with its base on held-out prompts, per kind, from the same noise."""
    with training_errors():
        from mixgrpo.parallel import distributed
        from mixgrpo.parallel.local import processes_for
        from mixgrpo.runs.folder import RunFolder

        from .together import together

        recipe = RunFolder(run).load_recipe()
        drawn_by = processes or processes_for(count or recipe.evaluation.prompts)
        with together(drawn_by):
            from mixgrpo.report.page import NAME, write_report
            from mixgrpo.runs.comparison import compare, print_comparison

            result = compare(run, count=count, steps=steps, seed=seed, checkpoint=checkpoint)
            if distributed.rank() != 0:
                return
            if as_json:
                typer.echo(json.dumps(result, indent=2))
            else:
                print_comparison(result)
            write_report([run], run / NAME)  # which has the intervals now


def export(
    run: RunPath,
    checkpoint: Checkpoint = None,
    merge: Annotated[bool, typer.Option("--merge", help="Merge LoRA adapters into the network.")] = False,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16, for full networks.", show_default="the recipe's")
    ] = None,
) -> None:
    """Write a run's result for diffusers, at any time: from its last checkpoint, its best one or any other."""
    with training_errors():
        from .together import quiet_libraries

        quiet_libraries()
        from mixgrpo.runs.export import export_run

        for path in export_run(run, checkpoint or "last", merge=merge, dtype=dtype):
            typer.echo(str(path))
