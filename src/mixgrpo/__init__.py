"""Online reinforcement learning for flow-matching text-to-image models.

The public names are imported when they are asked for, so that the command line starts without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixgrpo.api import MixGRPOConfig, MixGRPOTrainer
    from mixgrpo.recipe.load import load_recipe
    from mixgrpo.recipe.schema import Recipe
    from mixgrpo.runs.callbacks import Callback

__version__ = "0.1.0"

_PUBLIC = {
    "Callback": "mixgrpo.runs.callbacks",
    "MixGRPOConfig": "mixgrpo.api",
    "MixGRPOTrainer": "mixgrpo.api",
    "Recipe": "mixgrpo.recipe.schema",
    "load_recipe": "mixgrpo.recipe.load",
}
__all__ = ["Callback", "MixGRPOConfig", "MixGRPOTrainer", "Recipe", "__version__", "load_recipe"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
