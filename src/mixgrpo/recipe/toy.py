"""What a recipe for the tiny model leaves open: the sizes that it was trained at, its captions and their reward."""

from typing import Any

from mixgrpo import tiny

_MODEL = {"height": 64, "width": 64, "guidance_scale": 3.5, "max_sequence_length": 16}
_PROMPTS = {"train": "scenes", "evaluation": "scenes"}
_REWARDS = {"scenes": 1.0}


def with_toy_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """The same data for every other model: toy prompts teach it nothing."""
    model = data.get("model")
    if not isinstance(model, dict) or model.get("path") not in ("tiny", str(tiny.path())):
        return data
    return {"prompts": _PROMPTS, "rewards": _REWARDS, **data, "model": {**_MODEL, **model}}
