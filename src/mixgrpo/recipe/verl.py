"""verl-omni's names of some keys, accepted as they are."""

from typing import Any

from mixgrpo.section import shown

from .errors import RecipeError

VERL_NAMES = {
    "sde_window_size": "window.size",
    "sde_window_range": "window.range",
    "sample_strategy": "window.strategy",
    "iters_per_group": "window.iters_per_group",
    "sde_window_seed": "window.seed",
    "noise_level": "sde.noise_level",
    "sde_type": "sde.type",
}


def from_verl(data: dict[str, Any]) -> dict[str, Any]:
    """Rename verl-omni's keys and keep their meaning.

    verl-omni's progressive window moves by its whole size and stays at the end. Its names stand for that here too,
    unless stride and wrap are given.
    """
    renamed = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for name, key in VERL_NAMES.items():
        if name not in data:
            continue
        section, field = key.split(".")
        fields = renamed.setdefault(section, {})
        if not isinstance(fields, dict):
            raise RecipeError(f"{section} = {shown(fields)}: must be a section with keys of its own")
        if field in fields:
            raise RecipeError(f"{name} and {key} are the same setting: give one of them")
        fields[field] = verl_value(name, renamed.pop(name))
    window = renamed.get("window")
    if data.get("sample_strategy") == "progressive" and isinstance(window, dict):
        window.setdefault("wrap", False)
        if isinstance(window.get("size"), int):
            window.setdefault("stride", window["size"])
    return renamed


def verl_value(name: str, value: Any) -> Any:
    return "flow" if (name, value) == ("sde_type", "sde") else value
