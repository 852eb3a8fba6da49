"""The world of scenes, and a complete, real, tiny FLUX trained on it from nothing.

`path()` is a diffusers folder like any other: `FluxPipeline.from_pretrained(path())` needs diffusers alone.
"""

from pathlib import Path


def path() -> Path:
    return Path(__file__).parent / "model"
