"""One experiment from start to end: setup, measurement, table, file, chart."""

import json
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from . import cost, equal_terms, faults, growth, learning, levers, one_by_one, serving, suffix, tables
from .algorithms import check_names, selected
from .environment import environment, machine
from .progress import Track, with_progress
from .setup import BenchSetup, bench_setup

Result = dict[str, Any]
Options = Mapping[str, Any]
"""The options of the command that were given, by their flags without dashes."""

_DEFAULT_REPETITIONS = 2
_MODEL_OPTIONS = ("model", "device", "dtype", "repetitions")


class Experiment(NamedTuple):
    measure: Callable[[Options, Track], Result]
    table: Callable[[Result], None]
    options: tuple[str, ...]
    """Those that it takes."""
    has_chart: bool = False


def _on_a_model(
    measure: Callable[[BenchSetup, int, Track], Result], table: Callable[[Result], None], *options: str
) -> Experiment:
    def run(given: Options, track: Track) -> Result:
        setup = setup_of(given)
        return {**environment(setup), **measure(setup, given.get("repetitions", _DEFAULT_REPETITIONS), track)}

    return Experiment(run, table, (*_MODEL_OPTIONS, *options), has_chart=True)


def _learning(given: Options, track: Track) -> Result:
    entries = learning.contenders(given.get("contenders"))
    if "only" in given:
        check_names("--only", given["only"], entries)
        entries = {name: entry for name, entry in entries.items() if name in given["only"]}
    effort = learning.Effort(
        60 * given.get("minutes", 5.0), 60 * given.get("tuning-minutes", 2.0), given.get("repetitions", 3)
    )
    device = torch.device(given.get("device", "cpu"))
    journal = learning.Journal(given.get("journal", Path("learning.jsonl")))
    return {**machine(device), **learning.measure(entries, effort, device, journal, track)}


def _serving(given: Options, track: Track) -> Result:
    return {**_here(), **serving.measure(given.get("repetitions", _DEFAULT_REPETITIONS), track)}


def _faults(given: Options, track: Track) -> Result:
    return {**_here(), **faults.measure(track)}


def _here() -> Result:
    return machine(torch.device("cpu"))


EXPERIMENTS = {
    "cost": _on_a_model(cost.measure, tables.cost, "prompts", "only", "compile"),
    "levers": _on_a_model(levers.measure, tables.levers, "prompts"),
    "one-by-one": _on_a_model(one_by_one.measure, tables.one_by_one, "prompts", "only"),
    "suffix": _on_a_model(suffix.measure, tables.suffix, "prompts"),
    "growth": _on_a_model(growth.measure, tables.growth, "prompts"),
    "equal-terms": _on_a_model(
        equal_terms.measure, tables.equal_terms, "minutes", "learning-rate", "only", "recipe", "own-grid"
    ),
    "learning": Experiment(
        _learning,
        tables.learning,
        ("device", "minutes", "tuning-minutes", "repetitions", "only", "contenders", "journal"),
        has_chart=True,
    ),
    "serving": Experiment(_serving, tables.serving, ("repetitions",)),
    "faults": Experiment(_faults, tables.faults, ()),
}


def bench(what: str, given: Options, json_file: Path | None = None, png: Path | None = None) -> None:
    check_options(what, given, png)
    result = {"command": " ".join(["mixgrpo", *sys.argv[1:]]), **EXPERIMENTS[what].measure(given, with_progress)}
    EXPERIMENTS[what].table(result)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if png is not None:
        from .charts import CHARTS

        CHARTS[what](result).savefig(png, dpi=120)


def check_options(what: str, given: Options, png: Path | None) -> None:
    """Raises a ValueError for options that would have no effect."""
    known = EXPERIMENTS[what].options
    for name in given:
        if name not in known:
            takes = ", ".join(f"--{option}" for option in known) or "none"
            raise ValueError(f"--{name}: not an option of the experiment {what}, which takes {takes}")
    if png is not None and not EXPERIMENTS[what].has_chart:
        raise ValueError(f"--png: the experiment {what} has no chart")
    if png is not None and find_spec("matplotlib") is None:
        raise ValueError("charts need matplotlib: pip install 'mixgrpo[bench]'")


def setup_of(given: Options) -> BenchSetup:
    settings: dict[str, Any] = {
        field: given[option]
        for option, field in {
            "prompts": "prompts",
            "compile": "compile",
            "learning-rate": "learning_rate",
            "own-grid": "own_grid",
            "recipe": "recipes",
        }.items()
        if option in given
    }
    if "minutes" in given:
        settings["seconds"] = 60 * given["minutes"]
    if "only" in given:
        settings["algorithms"] = selected(given["only"])
    return bench_setup(given.get("model", "scenes"), given.get("device", "cpu"), given.get("dtype"), **settings)
