"""`mixgrpo recipes` and `mixgrpo plan`: what there is and what it does. They load neither torch nor diffusers."""

import json
import sys
from typing import Annotated

import typer

from mixgrpo.recipe.load import description_of, shipped_recipes
from mixgrpo.recipe.plan_view import plan_as_json, print_plan

from .arguments import Overrides, RecipeName, loaded


def recipes() -> None:
    """List the recipes that ship with the package."""
    names = shipped_recipes()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {description_of(name)}")


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    iteration: Annotated[int, typer.Option(min=0, help="The iteration whose plan is shown.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what a recipe samples and trains, and what that costs. Loads no model."""
    settings = loaded(recipe, overrides or [])
    if iteration >= settings.iterations:
        typer.echo(f"--iteration {iteration}: must be below {settings.iterations}, the number of iterations", err=True)
        sys.exit(2)
    if as_json:
        typer.echo(json.dumps(plan_as_json(settings, iteration), indent=2))
    else:
        print_plan(settings, iteration)
