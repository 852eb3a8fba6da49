"""The `mixgrpo` command."""
