"""The published algorithms and ours, as settings of one machine: what `algorithm: NAME` stands for.

A recipe's own sections come on top, key by key.
"""

from typing import Any, Literal, get_args

Algorithm = Literal[
    "mixgrpo", "mixgrpo-flash", "mixgrpo-flash-frozen", "flowgrpo", "flowgrpo-fast", "dancegrpo", "turbo"
]

_FLOW = {"type": "flow", "noise_level": 0.7}
_EVERY_STEP = {"strategy": "frozen", "size": None}

SECTIONS = ("sde", "window", "suffix", "credit")
"""What an algorithm decides; everything else is the recipe's."""

ALGORITHMS: dict[Algorithm, dict[str, dict[str, Any]]] = {
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
    "dancegrpo": {"sde": {"type": "dance", "noise_level": 0.3}, "window": {**_EVERY_STEP, "trained_fraction": 0.6}},
    # Ours: one step, so that the update runs the model once a prompt, and the fewest steps after it that keep the order
    # of a group's rewards (`mixgrpo bench --suffix`).
    "turbo": {
        "sde": {"type": "cps", "noise_level": 0.8},
        "window": {"strategy": "random", "size": 1},
        "suffix": {"solver": "dpm++2-midpoint", "compress_ratio": 0.4, "history": "suffix"},
    },
}
assert tuple(ALGORITHMS) == get_args(Algorithm)
