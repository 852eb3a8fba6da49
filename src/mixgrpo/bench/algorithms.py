"""The algorithms that are compared, and the times that the paper reports for them."""

from collections.abc import Collection

from mixgrpo.recipe.presets import Algorithm
from mixgrpo.section import suggestion

ALGORITHMS: dict[str, Algorithm] = {
    "DanceGRPO": "dancegrpo",
    "FlowGRPO": "flowgrpo",
    "MixGRPO": "mixgrpo",
    "Flash": "mixgrpo-flash",
    "Flash*": "mixgrpo-flash-frozen",
    "turbo": "turbo",
}
"""By the names that tables and charts show."""
BASELINE = "DanceGRPO"
"""The algorithm that the others are compared with."""

# Seconds per iteration of FLUX.1-dev on 32 GPUs, from tables 1 and 10 of the paper. Only their ratios are comparable.
_PUBLISHED_SECONDS: dict[Algorithm, float] = {
    "dancegrpo": 291.284,
    "mixgrpo": 150.839,
    "mixgrpo-flash": 112.372,
    "mixgrpo-flash-frozen": 83.278,
}


def published_ratio(algorithm: Algorithm) -> float | None:
    """The published time relative to DanceGRPO's, if the paper reports one."""
    seconds = _PUBLISHED_SECONDS.get(algorithm)
    return None if seconds is None else seconds / _PUBLISHED_SECONDS["dancegrpo"]


def check_names(option: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{option} {name}: {suggestion(name, known)}")


def selected(only: Collection[str]) -> dict[str, Algorithm]:
    """These algorithms and the baseline; all of them if none is named."""
    check_names("--only", only, ALGORITHMS.values())
    return {
        name: algorithm for name, algorithm in ALGORITHMS.items() if not only or algorithm in only or name == BASELINE
    }
