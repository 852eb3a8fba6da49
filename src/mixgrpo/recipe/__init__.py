"""What a run is asked to do: the schema of a recipe, how it is read, what it costs."""
