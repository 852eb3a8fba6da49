"""`python -m mixgrpo`, which is how torchrun starts it."""

from mixgrpo.cli.main import app

app()
