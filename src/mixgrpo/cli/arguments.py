"""Arguments that several commands have."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mixgrpo.recipe.load import RecipeError, load_recipe, shipped_recipes
from mixgrpo.recipe.schema import Recipe

from .errors import refuse


def recipes_like(incomplete: str) -> list[str]:
    """The shipped recipes that complete what was typed; a shell knows the files itself."""
    return [name for name in shipped_recipes() if name.startswith(incomplete)]


RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A shipped recipe or a YAML file.", autocompletion=recipes_like)
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe, such as window.size=2.")
]
Checkpoint = Annotated[
    str | None,
    typer.Option(help="last, best or an iteration. Default: the finished result, or the last checkpoint.", metavar="N"),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes on this machine. Default: one a core, and one where there is a GPU or under torchrun."
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]


def loaded(recipe: str, overrides: Sequence[str]) -> Recipe:
    """The recipe, or its mistakes and exit status 2."""
    try:
        return load_recipe(recipe, overrides)
    except RecipeError as error:
        refuse(str(error))
