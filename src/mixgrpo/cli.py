"""The `mixgrpo` command.

What needs torch is imported where it is used: `mixgrpo plan` answers at once.
"""

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .config import Recipe
from .plan_view import plan_as_json, print_plan
from .recipe import RecipeError, load_recipe, shipped_recipes

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe or a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it, such as window.size=2.")
]

RunFolderArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]


@app.callback()
def main() -> None:
    """Online reinforcement learning for flow-matching text-to-image models."""


@app.command()
def recipes() -> None:
    """List the recipes that ship with the package."""
    names = shipped_recipes()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {load_recipe(name).description}")


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    iteration: Annotated[int, typer.Option(min=0, help="Which iteration's plan to show.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The same for a machine.")] = False,
) -> None:
    """Show what a recipe samples and trains, and what that costs. Loads no model."""
    loaded = _load(recipe, overrides or [])
    if as_json:
        typer.echo(json.dumps(plan_as_json(loaded, iteration), indent=2))
    else:
        print_plan(loaded, iteration)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="[RECIPE]", help="A shipped recipe or a YAML file.")] = "scenes",
    overrides: Overrides = None,
    # Not `--run`: torchrun takes that for an abbreviation of an option of its own.
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default a new one under runs/.")] = None,
) -> None:
    """Train. The result, checkpoints and metrics are in the run's folder."""
    changes = [*(overrides or [])]
    if "=" in recipe:  # the recipe left out: mixgrpo train iterations=5
        recipe, changes = "scenes", [recipe, *changes]
    loaded = _load(recipe, changes)
    from . import distributed
    from .run import start

    with _process_group(), _plain_errors():
        folder = distributed.gather(out or _new_folder(Path(recipe).stem))[0]  # the same for all processes
        start(loaded, folder)


@app.command()
def resume(run: RunFolderArgument) -> None:
    """Continue a run from its last checkpoint, exactly as if it had never stopped."""
    from .run import resume

    with _process_group(), _plain_errors():
        resume(run)


@app.command()
def sample(
    run: RunFolderArgument,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="One picture each.")],
    out: Annotated[Path, typer.Option(help="Where the PNG files go.")] = Path("samples"),
    steps: Annotated[int, typer.Option(min=1, help="Euler steps.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the noise.")] = 0,
    share: Annotated[
        float,
        typer.Option("--hybrid", min=0, max=1, help="Share of the steps by the tuned model; the base draws the rest."),
    ] = 1.0,
) -> None:
    """Draw pictures with a run's tuned model."""
    from .sampling import sample_to_files

    with _plain_errors():
        for path in sample_to_files(run, prompts, out, steps=steps, seed=seed, share=share):
            typer.echo(str(path))


@app.command("eval")
def evaluate(
    run: RunFolderArgument,
    count: Annotated[int | None, typer.Option("--prompts", min=1, help="How many; by default the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Euler steps; by default the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the noise, the same for both.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The same for a machine.")] = False,
) -> None:
    """Compare a run's model before and after on held-out prompts, per kind, from the same noise."""
    from .comparison import compare, print_comparison

    with _plain_errors():
        result = compare(run, count=count, steps=steps, seed=seed)
        if as_json:
            typer.echo(json.dumps(result, indent=2))
        else:
            print_comparison(result)


def _load(recipe: str, overrides: Sequence[str]) -> Recipe:
    try:
        return load_recipe(recipe, overrides)
    except RecipeError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)


def _new_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder


@contextmanager
def _process_group() -> Iterator[None]:
    from . import distributed

    distributed.start()
    try:
        yield
    finally:
        distributed.stop()


def _quiet_libraries() -> None:
    """No bars for loading what takes a second, and no word of what is as it should be."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    for handler in logging.getLogger("transformers").handlers:
        handler.addFilter(lambda record: "requires torchvision" not in record.getMessage())
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # float32 weights under autocast


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What the user can mend is said in a sentence, without a traceback."""
    _quiet_libraries()
    from .scoring import RewardError
    from .trainer import TrainingStopped

    try:
        yield
    except (RecipeError, RewardError, TrainingStopped, ValueError, OSError) as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
