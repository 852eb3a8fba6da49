"""The error that every mistake in a recipe becomes."""


class RecipeError(ValueError):
    """What is wrong with a recipe, one sentence a line."""
