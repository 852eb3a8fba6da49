"""What was measured, for people: tables in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from .cost import PARTS

_CONSOLE = Console(highlight=False)


def cost(result: dict[str, Any]) -> None:
    table = _table("seconds", "calls", *PARTS, "images/s", "MiB")
    table.caption = "calls an image, rollout + update; medians of an iteration; peak memory beside what is held"
    ratios = _table("beside DanceGRPO", "model", "over slides", "iteration", "paper", "TFLOP/s")
    ratios.caption = f"model: rollout and update; TFLOP/s in each, of {result['matrix_tflops']:.3g}"
    for name, row in result["contenders"].items():
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
            f"{ratio['least']:.3f}-{ratio['most']:.3f}",
            f"{row['iteration_ratio']['median']:.3f}",
            _or_dash(row["published_ratio"], ".2f"),
            " + ".join(f"{rate:.2g}" for rate in row["tflops"].values()),
        )
    _print(result, table)
    _CONSOLE.print(ratios)


def levers(result: dict[str, Any]) -> None:
    table = _table("", "model s", "beside turbo", "iteration s", "beside turbo")
    for row in result["rows"]:
        table.add_row(
            row["lever"],
            f"{row['model_seconds']:.3f}",
            f"{row['model_time_ratio']:.2f}",
            f"{row['iteration_seconds']:.3f}",
            f"{row['iteration_ratio']:.2f}",
        )
    _print(result, table)


def one_by_one(result: dict[str, Any]) -> None:
    table = _table("", "model s", "one image at a time, s", "times faster")
    for row in result["rows"]:
        seconds = (f"{row[name]:.3f}" for name in ("seconds", "one_by_one_seconds"))
        table.add_row(row["contender"], *seconds, f"{row['times_faster']:.1f}")
    _print(result, table)


def suffix(result: dict[str, Any]) -> None:
    table = _table("after step", "solver", "history", "ratio", "calls", "rank correlation", "groups", "reward")
    for row in result["rows"]:
        table.add_row(
            str(row["position"]),
            row["solver"],
            row["history"],
            f"{row['compress_ratio']:g}",
            str(row["suffix_calls"]),
            _or_dash(row["rank_correlation"], ".2f"),
            str(row["groups"]),
            f"{row['reward']:.3f}",
        )
    _print(result, table)


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
    _print(result, table)


def learning(result: dict[str, Any]) -> None:
    table = _table("", "iterations", f"gain in {result['reward']}", "share of the time to DanceGRPO's end")
    for name, row in result["contenders"].items():
        share = row["share_of_the_time"]
        table.add_row(
            name,
            f"{row['iterations']:.0f}",
            _with_interval(row["gain"]),
            "not reached by every seed" if share is None else _with_interval(share),
        )
    _print(result, table)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _print(result: dict[str, Any], table: Table) -> None:
    _CONSOLE.print(
        f"{result['parameters'] / 1e6:,.1f} M parameters, {result['image_tokens']} image tokens, {result['prompts']} "
        f"prompts x {result['group_size']} images, {result['dtype']}, tune {result['tune']}; {result['device']}, "
        f"{result['threads']} threads, torch {result['torch']}"
    )
    _CONSOLE.print(table)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _with_interval(estimate: dict[str, float | None]) -> str:
    half_width = estimate["half_width"]
    return f"{estimate['mean']:.3f}" + ("" if half_width is None else f" +- {half_width:.3f}")
