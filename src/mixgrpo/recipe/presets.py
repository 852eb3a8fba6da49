"""The published algorithms and ours as presets: what `algorithm: NAME` fills in. The recipe's own keys win."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from mixgrpo.section import alternatives, shown

from .errors import RecipeError

Algorithm = Literal[
    "mixgrpo", "mixgrpo-flash", "mixgrpo-flash-frozen", "flowgrpo", "flowgrpo-fast", "dancegrpo", "turbo"
]

_FLOW = {"type": "flow", "noise_level": 0.7}
_EVERY_STEP = {"strategy": "frozen", "size": None}

DANCEGRPO_NOISE = 0.3
DANCEGRPO_FRACTION = 0.6

PRESET_SECTIONS = ("sde", "window", "suffix")
"""The sections that a preset decides. Presets are meant for the default `objective.type`."""

PRESETS: dict[Algorithm, dict[str, dict[str, Any]]] = {
    "mixgrpo": {
        "sde": _FLOW,
        "window": {"strategy": "progressive", "size": 4, "iters_per_group": 25, "stride": 1},
    },
    "mixgrpo-flash": {
        "sde": _FLOW,
        "window": {"strategy": "progressive", "size": 4, "iters_per_group": 20, "stride": 1},
        "suffix": {"solver": "dpm++2-midpoint", "compress_ratio": 0.4},
    },
    "mixgrpo-flash-frozen": {
        "sde": _FLOW,
        "window": {"strategy": "frozen", "size": 4},
        "suffix": {"solver": "dpm++2-midpoint", "compress_ratio": 0.2},
    },
    "flowgrpo": {"sde": _FLOW, "window": _EVERY_STEP},
    "flowgrpo-fast": {"sde": {"type": "cps", "noise_level": 0.8}, "window": {"strategy": "random", "size": 2}},
    "dancegrpo": {
        "sde": {"type": "dance", "noise_level": DANCEGRPO_NOISE},
        "window": {**_EVERY_STEP, "trained_fraction": DANCEGRPO_FRACTION},
    },
    # Ours. A window of one step, so that the update runs the model once per prompt, and the shortest suffix that keeps
    # the ranking of rewards within a group (`mixgrpo bench --suffix`).
    "turbo": {
        "sde": {"type": "cps", "noise_level": 0.8},
        "window": {"strategy": "random", "size": 1},
        "suffix": {"solver": "dpm++2-midpoint", "compress_ratio": 0.4, "history": "suffix"},
    },
}
assert tuple(PRESETS) == get_args(Algorithm)


def with_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what the algorithm's preset decides and the recipe leaves open. Where the recipe names another window
    strategy or SDE type than the preset, none of the preset's keys for it apply; Euler takes no history.
    """
    name = data.get("algorithm", "mixgrpo")
    if name not in [*PRESETS]:  # in a list, because what is given may have no hash
        raise RecipeError(f"algorithm = {shown(name)}: must be {alternatives(PRESETS)}")
    filled = dict(data)
    for section, preset in PRESETS[name].items():
        own = data.get(section, {})
        if not isinstance(own, dict):
            continue
        if section == "window" and own.get("strategy", preset["strategy"]) != preset["strategy"]:
            continue
        if section == "sde" and own.get("type", preset["type"]) != preset["type"]:
            continue
        filled[section] = {**preset, **own}
        if section == "suffix" and own.get("solver") == "euler" and "history" not in own:
            filled[section].pop("history", None)
    return filled
