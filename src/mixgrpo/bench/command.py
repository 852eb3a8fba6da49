"""One measurement from start to end: the ground, a bar while it goes on, a table, a file, a picture."""

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from . import cost, growth, learning, levers, one_by_one, suffix, tables
from .environment import environment
from .ground import Ground, chosen, ground_on
from .waiting import Wait, with_a_bar

Result = dict[str, Any]


class Experiment(NamedTuple):
    measure: Callable[[Ground, int, Wait], Result]
    table: Callable[[Result], None]


EXPERIMENTS = {
    "cost": Experiment(cost.measure, tables.cost),
    "levers": Experiment(levers.measure, tables.levers),
    "one-by-one": Experiment(one_by_one.measure, tables.one_by_one),
    "suffix": Experiment(suffix.measure, tables.suffix),
    "growth": Experiment(growth.measure, tables.growth),
    "learning": Experiment(learning.measure, tables.learning),
}


def bench(
    what: str,
    model: str,
    device: str,
    prompts: int,
    repetitions: int,
    seconds: float,
    only: Collection[str],
    compile: bool,
    json_file: Path | None,
    png: Path | None,
) -> None:
    if png is not None and find_spec("matplotlib") is None:
        raise ValueError("pictures need matplotlib: pip install 'mixgrpo[bench]'")
    ground = replace(
        ground_on(model, torch.device(device)),
        prompts=prompts,
        seconds=seconds,
        contenders=chosen(only),
        compile=compile,
    )
    experiment = EXPERIMENTS[what]
    measured = experiment.measure(ground, repetitions, with_a_bar)
    result = {"command": " ".join(["mixgrpo", *sys.argv[1:]]), **environment(ground), **measured}
    experiment.table(result)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if png is not None:
        from . import charts

        charts.CHARTS[what](result).savefig(png, dpi=120)
