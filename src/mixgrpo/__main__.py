"""`python -m mixgrpo`, which is how torchrun starts it."""

from .cli import app

app()
