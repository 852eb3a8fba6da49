"""`mixgrpo recipes` and `mixgrpo plan`: what there is and what it does. They load neither torch nor diffusers."""

import json
from typing import Annotated

import typer

from mixgrpo.recipe.load import load_recipe, shipped_recipes
from mixgrpo.recipe.plan_view import plan_as_json, print_plan

from .arguments import Overrides, RecipeName, loaded


def recipes() -> None:
    """List the recipes that ship with the package."""
    names = shipped_recipes()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {load_recipe(name).description}")


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    iteration: Annotated[int, typer.Option(min=0, help="The iteration whose plan is shown.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what a recipe samples and trains, and what that costs. Loads no model."""
    settings = loaded(recipe, overrides or [])
    if as_json:
        typer.echo(json.dumps(plan_as_json(settings, iteration), indent=2))
    else:
        print_plan(settings, iteration)
