"""One measurement from start to end: the ground, a bar while it goes on, a table, a file, a picture."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from . import cost, growth, learning, levers, one_by_one, suffix, tables
from .environment import environment
from .progress_bar import Wait, with_a_bar
from .setup import Ground, chosen, ground_on

Result = dict[str, Any]


class Experiment(NamedTuple):
    measure: Callable[[Ground, int, Wait], Result]
    table: Callable[[Result], None]
    settings: tuple[str, ...]
    """What may be said about it."""


EXPERIMENTS = {
    "cost": Experiment(cost.measure, tables.cost, ("prompts", "only", "compile")),
    "levers": Experiment(levers.measure, tables.levers, ("prompts",)),
    "one-by-one": Experiment(one_by_one.measure, tables.one_by_one, ("prompts", "only")),
    "suffix": Experiment(suffix.measure, tables.suffix, ("prompts",)),
    "growth": Experiment(growth.measure, tables.growth, ("prompts",)),
    "learning": Experiment(learning.measure, tables.learning, ("minutes", "learning-rate", "only")),
}


def bench(
    what: str,
    model: str,
    device: str,
    dtype: str | None,
    repetitions: int,
    settings: Mapping[str, Any],
    json_file: Path | None,
    png: Path | None,
) -> None:
    """`settings`: those that were given; the ground has the others."""
    experiment = EXPERIMENTS[what]
    for name in settings:
        if name not in experiment.settings:
            takes = ", ".join(f"--{known}" for known in experiment.settings)
            raise ValueError(f"--{name}: measuring {what} does not take it, only {takes}")
    if png is not None and find_spec("matplotlib") is None:
        raise ValueError("pictures need matplotlib: pip install 'mixgrpo[bench]'")
    ground = replace(ground_on(model, torch.device(device), dtype), **dict(map(_on_the_ground, settings.items())))
    result = {
        "command": " ".join(["mixgrpo", *sys.argv[1:]]),
        **environment(ground),
        **experiment.measure(ground, repetitions, with_a_bar),
    }
    experiment.table(result)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if png is not None:
        from . import charts

        charts.CHARTS[what](result).savefig(png, dpi=120)


def _on_the_ground(setting: tuple[str, Any]) -> tuple[str, Any]:
    match setting:
        case "minutes", minutes:
            return "seconds", 60 * minutes
        case "only", algorithms:
            return "contenders", chosen(algorithms)
        case name, value:
            return name.replace("-", "_"), value
