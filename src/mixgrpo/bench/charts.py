"""Results as charts."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from .cost import PARTS

_COLOURS = {"rollout": "#2a6f97", "decode": "#a9d6e5", "reward": "#dddddd", "update": "#e76f51"}


def cost(result: dict[str, Any]) -> Figure:
    """A bar per algorithm, stacked from the parts of an iteration."""
    algorithms = result["algorithms"]
    figure = Figure(figsize=(9, 0.6 * len(algorithms) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(algorithms)
    for part in PARTS:
        seconds = [row["seconds"][part] for row in algorithms.values()]
        axes.barh([*algorithms], seconds, left=left, color=_COLOURS[part], label=part)
        left = [start + more for start, more in zip(left, seconds, strict=True)]
    for number, row in enumerate(algorithms.values()):
        published = row["published_ratio"]
        paper = "" if published is None else f" (paper {published:.0%})"
        axes.text(left[number], number, f"  {row['model_time_ratio']['median']:.0%}{paper}", va="center")
    axes.set_xlim(0, max(left) * 1.2)
    axes.invert_yaxis()
    axes.set_xlabel("seconds per iteration; percent: rollout and update relative to DanceGRPO")
    _plain(axes)
    return figure


def levers(result: dict[str, Any]) -> Figure:
    rows = result["rows"]
    figure = Figure(figsize=(8, 0.45 * len(rows) + 1), layout="constrained")
    axes = figure.add_subplot()
    names = [row["variant"] for row in rows]
    axes.barh(names, [row["iteration_seconds"] for row in rows], color="#dddddd", label="iteration")
    axes.barh(names, [row["model_seconds"] for row in rows], color=_COLOURS["rollout"], label="rollout and update")
    axes.invert_yaxis()
    axes.set_xlabel("seconds per iteration")
    _plain(axes)
    return figure


def one_by_one(result: dict[str, Any]) -> Figure:
    rows = result["rows"]
    figure = Figure(figsize=(8, 0.6 * len(rows) + 1), layout="constrained")
    axes = figure.add_subplot()
    names = [row["algorithm"] for row in rows]
    axes.barh(names, [row["one_by_one_seconds"] for row in rows], color="#dddddd", label="one image at a time")
    axes.barh(names, [row["seconds"] for row in rows], color=_COLOURS["rollout"], label="batched and shared")
    axes.invert_yaxis()
    axes.set_xlabel("rollout and update, seconds per iteration")
    _plain(axes)
    return figure


def suffix(result: dict[str, Any]) -> Figure:
    """Rank correlation by the number of calls, a panel for each kind of suffix."""
    kinds = [*dict.fromkeys((row["solver"], row["history"]) for row in result["rows"])]
    figure = Figure(figsize=(4 * len(kinds), 3.5), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        of_kind = [row for row in result["rows"] if (row["solver"], row["history"]) == kind]
        for position in dict.fromkeys(row["position"] for row in of_kind):
            rows = [row for row in of_kind if row["position"] == position]
            rows.sort(key=lambda row: row["suffix_calls"])
            calls, correlations = ([row[key] for row in rows] for key in ("suffix_calls", "rank_correlation"))
            axes.plot(calls, correlations, "o-", label=f"after step {position}")
        axes.set_title(", history: ".join(filter(None, kind)), fontsize="small")
        axes.set_xlabel("model calls after the window")
        _plain(axes)
    figure.axes[0].set_ylabel("rank correlation with the full suffix")
    return figure


def growth(result: dict[str, Any]) -> Figure:
    """A column per axis: seconds, measured and predicted, and peak memory."""
    names = [*dict.fromkeys(row["axis"] for row in result["rows"])]
    figure = Figure(figsize=(3 * len(names), 5), layout="constrained")
    for (seconds, memory), name in zip(
        figure.subplots(2, len(names), sharex="col", squeeze=False).T, names, strict=True
    ):
        rows = [row for row in result["rows"] if row["axis"] == name]
        values, measured, predicted, peaks = (
            [row[key] for row in rows] for key in ("value", "seconds", "predicted_seconds", "peak_mib")
        )
        seconds.plot(values, measured, "o-", color=_COLOURS["rollout"], label="measured")
        seconds.plot(values, predicted, "x--", color=_COLOURS["update"], label="predicted")
        memory.plot(values, peaks, "o-", color=_COLOURS["rollout"])
        memory.set_xlabel(name)
        for axes in (seconds, memory):
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
            _plain(axes)
    figure.axes[0].set_ylabel("rollout and update, seconds")
    figure.axes[len(names)].set_ylabel("peak memory, MiB")
    return figure


def learning(result: dict[str, Any]) -> Figure:
    """Mean accuracy over seeds by seconds and by images; ours are drawn thick."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    for axes, unit in zip(figure.subplots(1, 2, sharey=True), ("seconds", "images"), strict=True):
        for colour, (name, row) in enumerate(result["contenders"].items()):
            per_point = [*zip(*row["curves"], strict=False)]
            an_iteration = row["images"][0] / max(1, row["iterations"][0])
            where = [
                fmean(point["seconds"] if unit == "seconds" else point["iterations"] * an_iteration for point in points)
                for points in per_point
            ]
            accuracy = [100 * fmean(point["reward"] for point in points) for points in per_point]
            style = "-" if colour < 10 else "--"
            axes.plot(where, accuracy, style, color=f"C{colour % 10}", label=name, linewidth=3 if row["ours"] else 1.2)
        axes.set_xlabel(unit)
        _plain(axes)
    figure.axes[0].set_ylabel("strict accuracy on held-out prompts, %")
    return figure


def equal_terms(result: dict[str, Any]) -> Figure:
    """Reward by seconds and by iterations, a line per seed; dotted: DanceGRPO's result."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, unit in zip(figure.subplots(1, 2, sharey=True), ("seconds", "iterations"), strict=True):
        for colour, (name, row) in enumerate(result["algorithms"].items()):
            for number, curve in enumerate(row["curves"]):
                rewards = [point["reward"] for point in curve]
                label = name if number == 0 else None
                axes.plot([point[unit] for point in curve], rewards, color=f"C{colour}", label=label)
        axes.axhline(result["target"], color="grey", linestyle=":")
        axes.set_xlabel(unit)
        _plain(axes)
    figure.axes[0].set_ylabel(f"{result['reward']} on held-out prompts")
    return figure


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")


CHARTS: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "cost": cost,
    "levers": levers,
    "one-by-one": one_by_one,
    "suffix": suffix,
    "growth": growth,
    "learning": learning,
    "equal-terms": equal_terms,
}
