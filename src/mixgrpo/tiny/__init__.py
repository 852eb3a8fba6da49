"""The tiny model that ships with the package: a complete FLUX, trained from scratch on the world of scenes.

`path()` is an ordinary diffusers folder: `FluxPipeline.from_pretrained(path())` needs nothing but diffusers.
"""

from pathlib import Path


def path() -> Path:
    return Path(__file__).parent / "model"
