"""`mixgrpo bench`: measure what the algorithms cost and what they learn."""

from pathlib import Path
from typing import Annotated

import typer

from mixgrpo.signals import raising

from .errors import training_errors


def bench(
    learning: Annotated[
        bool, typer.Option("--learning", help="What each objective learns in the same time, at settings of its own.")
    ] = False,
    equal_terms: Annotated[
        bool, typer.Option("--equal-terms", help="What algorithms learn in the same time, at one rate for all.")
    ] = False,
    levers: Annotated[bool, typer.Option("--levers", help="What each speed setting of turbo contributes.")] = False,
    one_by_one: Annotated[bool, typer.Option("--one-by-one", help="Against one image at a time.")] = False,
    suffix: Annotated[bool, typer.Option("--suffix", help="Which short suffixes keep the ranking of rewards.")] = False,
    growth: Annotated[bool, typer.Option("--growth", help="Measured and predicted cost and memory by size.")] = False,
    serving: Annotated[bool, typer.Option("--serving", help="Throughput of a reward server.")] = False,
    faults: Annotated[bool, typer.Option("--faults", help="Scores when reward servers fail.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="The recipe whose model is measured, or flux-dev-shape: FLUX.1-dev's size, random.",
            show_default="scenes",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default="cpu")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default="the recipe's")] = None,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Prompts per iteration, 12 images each.", show_default="4")
    ] = None,
    repetitions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of repetitions; of seeds, for --learning (3) and --equal-terms.", show_default="2"
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Training time, for --learning (5) and --equal-terms.", show_default="10"),
    ] = None,
    tuning_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Training time of a variant, for --learning.", show_default="2")
    ] = None,
    contenders: Annotated[
        Path | None, typer.Option(help="A file of contenders, for --learning.", show_default="all objectives")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="What --learning writes and takes up again.", show_default="learning.jsonl"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-12, help="Of all algorithms, for --equal-terms.", show_default="the recipe's")
    ] = None,
    own_grid: Annotated[
        bool, typer.Option("--own-grid", help="The recipe's own grid instead of 25 steps, for --equal-terms.")
    ] = False,
    recipe: Annotated[
        list[str] | None, typer.Option(help="A recipe to compare as it is, for --equal-terms; repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="An algorithm to compare with DanceGRPO, or a contender; repeatable. Default: all."),
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Also turbo with compiled blocks.")] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="A file for all measurements.")] = None,
    png: Annotated[Path | None, typer.Option(help="A file for the chart.")] = None,
) -> None:
    """Measure what the algorithms cost, side by side on one model; or one of the other experiments."""
    with training_errors(), raising():
        from .together import quiet_libraries

        quiet_libraries()
        from mixgrpo.bench.command import bench as run_bench

        experiments = {
            "learning": learning,
            "equal-terms": equal_terms,
            "levers": levers,
            "one-by-one": one_by_one,
            "suffix": suffix,
            "growth": growth,
            "serving": serving,
            "faults": faults,
        }
        chosen = [name for name, on in experiments.items() if on] or ["cost"]
        if len(chosen) > 1:
            raise ValueError(f"{', '.join(f'--{name}' for name in chosen)}: give one of them")
        options = {
            "model": model,
            "device": device,
            "dtype": dtype,
            "prompts": prompts,
            "repetitions": repetitions,
            "minutes": minutes,
            "tuning-minutes": tuning_minutes,
            "contenders": contenders,
            "journal": journal,
            "learning-rate": learning_rate,
            "own-grid": own_grid,
            "recipe": recipe,
            "only": only,
            "compile": compile,
        }
        run_bench(chosen[0], {name: value for name, value in options.items() if value}, as_json, png)
