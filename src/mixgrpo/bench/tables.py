"""Results as tables in the terminal."""

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from .cost import PARTS
from .levers import FULL

_CONSOLE = Console(highlight=False)


def cost(result: dict[str, Any]) -> None:
    table = _table("seconds", "calls per image", *PARTS, "images/s", "peak MiB")
    table.caption = "calls per image: rollout + update; seconds: medians; peak memory above what the model takes"
    ratios = _table("relative to DanceGRPO", "model", "range", "iteration", "paper", "TFLOP/s")
    ratios.caption = f"model: rollout and update; TFLOP/s: of each, of {result['matrix_tflops']:.3g} in matrix products"
    for name, row in result["algorithms"].items():
        calls, ratio = row["calls_per_image"], row["model_time_ratio"]
        table.add_row(
            name,
            f"{calls['rollout']:.1f} + {calls['update']:.2f}",
            *(f"{row['seconds'][part]:.2f}" for part in PARTS),
            f"{row['images_per_second']:.1f}",
            _or_dash(row["peak_mib"], ".0f"),
        )
        ratios.add_row(
            name,
            f"{ratio['median']:.3f}",
            f"{ratio['min']:.3f}-{ratio['max']:.3f}",
            f"{row['iteration_ratio']['median']:.3f}",
            _or_dash(row["published_ratio"], ".2f"),
            " + ".join(f"{rate:.2g}" for rate in row["tflops"].values()),
        )
    _print_model(result)
    _CONSOLE.print(table, ratios, sep="\n")


def levers(result: dict[str, Any]) -> None:
    table = _table("", "model s", f"relative to {FULL}", "iteration s", f"relative to {FULL}")
    for row in result["rows"]:
        table.add_row(
            row["variant"],
            f"{row['model_seconds']:.3f}",
            f"{row['model_time_ratio']:.2f}",
            f"{row['iteration_seconds']:.3f}",
            f"{row['iteration_ratio']:.2f}",
        )
    _print_model(result)
    _CONSOLE.print(table)


def one_by_one(result: dict[str, Any]) -> None:
    table = _table("", "batched s", "one by one s", "speedup")
    for row in result["rows"]:
        seconds = (f"{row[name]:.3f}" for name in ("seconds", "one_by_one_seconds"))
        table.add_row(row["algorithm"], *seconds, f"{row['speedup']:.1f}")
    _print_model(result)
    _CONSOLE.print(table)


def suffix(result: dict[str, Any]) -> None:
    table = _table("after step", "solver", "history", "ratio", "calls", "rank correlation", "groups", "reward")
    for row in result["rows"]:
        table.add_row(
            str(row["position"]),
            row["solver"],
            row["history"] or "",
            f"{row['compress_ratio']:g}",
            str(row["suffix_calls"]),
            _or_dash(row["rank_correlation"], ".2f"),
            str(row["groups"]),
            f"{row['reward']:.3f}",
        )
    _print_model(result)
    _CONSOLE.print(table)


def growth(result: dict[str, Any]) -> None:
    table = _table("", "", "model s", "predicted s", "predicted / measured", "peak MiB")
    for row in result["rows"]:
        table.add_row(
            row["axis"],
            str(row["value"]),
            f"{row['seconds']:.3f}",
            f"{row['predicted_seconds']:.3f}",
            f"{row['predicted_to_measured']:.2f}",
            _or_dash(row["peak_mib"], ".0f"),
        )
    _print_model(result)
    _CONSOLE.print(table)


def learning(result: dict[str, Any]) -> None:
    table = _table("", "iterations", "gain, points", "s to +5 points", "s to +10 points", "chosen")
    table.title = (
        f"Strict accuracy on held-out prompts, from {result['start']:.1%}, in {result['seconds'] / 60:g} minutes each"
    )
    table.caption = "95% intervals over seeds; seconds are means, - where a seed did not get there"
    for name, row in sorted(result["contenders"].items(), key=lambda item: -item[1]["gain"]["mean"]):
        points = {key: None if value is None else 100 * value for key, value in row["gain"].items()}
        times = [None if None in own else statistics.fmean(own) for own in row["seconds_to"].values()]
        table.add_row(
            f"{name} (ours)" if row["ours"] else name,
            f"{statistics.fmean(row['iterations']):.0f}",
            _with_interval(points),
            *(_or_dash(seconds, ".0f") for seconds in times),
            row["changes"],
        )
    _CONSOLE.print(table)


def equal_terms(result: dict[str, Any]) -> None:
    table = _table("", "iterations", f"gain in {result['reward']}", "fraction of the time to DanceGRPO's result")
    table.caption = "95% intervals over seeds"
    for name, row in result["algorithms"].items():
        fraction = row["time_fraction"]
        table.add_row(
            name,
            f"{row['iterations']:.0f}",
            _with_interval(row["gain"]),
            "not reached by every seed" if fraction is None else _with_interval(fraction),
        )
    _print_model(result)
    _CONSOLE.print(table, _gains_by_kind(result), sep="\n")


def _gains_by_kind(result: dict[str, Any]) -> Table:
    """A row per kind of prompt, a column per algorithm."""
    gains = {name: row["gain_by_kind"] for name, row in result["algorithms"].items()}
    table = _table("gain by kind", "prompts", *gains)
    table.caption = "95% intervals over prompts"
    for kind, first in next(iter(gains.values())).items():
        table.add_row(kind, str(first["count"]), *(_with_interval(of_kind[kind]) for of_kind in gains.values()))
    return table


def serving(result: dict[str, Any]) -> None:
    table = _table("reward", "concurrent requests", "one by one", "batched", "speedup", "images per call")
    table.title = "Images per second over HTTP on one machine"
    for row in result["rows"]:
        table.add_row(
            row["reward"],
            str(row["concurrent_requests"]),
            *(f"{statistics.median(row['images_per_second'][name]):.0f}" for name in ("single", "batched")),
            f"{row['speedup']:.2f}",
            f"{row['images_per_call']['batched']:.1f}",
        )
    _CONSOLE.print(table)


def faults(result: dict[str, Any]) -> None:
    table = _table("client, fault", "correct", "missing", "wrong", "requests", "seconds")
    table.title = f"Scores of {result['images']} images, {result['threads']} threads"
    for row in result["rows"]:
        counts = (str(row[name]) for name in ("correct", "missing", "wrong", "requests"))
        table.add_row(f"{row['client']}: {row['fault']}", *counts, f"{row['seconds']:.1f}")
    _CONSOLE.print(table)
    for error in dict.fromkeys(row["error"] for row in result["rows"] if row["fault"] == "down"):
        _CONSOLE.print(error)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _print_model(result: dict[str, Any]) -> None:
    shape = " x ".join(map(str, result["latent_shape"]))
    _CONSOLE.print(
        f"{result['parameters'] / 1e6:,.1f} M parameters, latents {shape}, {result['prompts']} prompts x "
        f"{result['group_size']} images, {result['dtype']}, tune {result['tune']}; {result['device']}, "
        f"{result['threads']} threads, torch {result['torch']}"
    )


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _with_interval(estimate: dict[str, float | None]) -> str:
    half_width = estimate["half_width"]
    return f"{estimate['mean']:.3f}" + ("" if half_width is None else f" ± {half_width:.3f}")
