"""The `mixgrpo` command."""

import json
import sys
from typing import Annotated

import typer

from .plan_view import plan_as_json, print_plan
from .recipe import RecipeError, load_recipe, shipped_recipes

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe or a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it, such as window.size=2.")
]


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
    try:
        loaded = load_recipe(recipe, overrides or [])
    except RecipeError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
    if as_json:
        typer.echo(json.dumps(plan_as_json(loaded, iteration), indent=2))
    else:
        print_plan(loaded, iteration)
