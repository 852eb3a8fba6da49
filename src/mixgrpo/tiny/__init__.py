"""A complete, real, tiny FLUX and the world of scenes it draws.

`path()` is a diffusers folder like any other: `FluxPipeline.from_pretrained(path())` needs diffusers alone.
"""

from pathlib import Path


def path() -> Path:
    return Path(__file__).parent / "model"
