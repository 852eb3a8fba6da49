"""What the page shows of a run, read from its folder into plain data."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from mixgrpo.recipe.schema import Recipe
from mixgrpo.runs.diagnosis import diagnose
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.progress import RECENT, TREND

from .pictures import as_data, chosen

_MOVERS = 5
_CURVES = ("kl", "clip_fraction", "ratio_deviation", "first_ratio_error", "loss", "grad_norm", "learning_rate")


def read_run(path: Path) -> dict[str, Any]:
    """As JSON has it. Raises FileNotFoundError, in a sentence, where there is no run."""
    folder = RunFolder(path)
    recipe = folder.load_recipe()
    lines, damaged = folder.lines()
    compared = _compared(path)
    return {
        "name": path.resolve().name,
        "path": str(path),
        "description": recipe.description,
        "iterations": recipe.iterations,
        "trained": [*recipe.weights],
        "observed": [name for name in recipe.rewards if name not in recipe.weights],
        "x": _axes(lines, recipe),
        "curves": _curves(lines, recipe),
        "window": [[line["window"][0], line["window"][-1]] if line["window"] else None for line in lines],
        "steps": recipe.grid.steps,
        "evaluations": [*_evaluations(folder)],
        "compared": compared.get("rewards"),
        "movers": movers(compared.get("per_prompt", []), recipe.weights),
        "samples": [
            {"iteration": number, "image": as_data(file)} for number, file in chosen(folder.samples.glob("*.png"))
        ],
        "findings": [*_findings(lines, recipe)],
        "failures": failures(lines, recipe.rewards, damaged),
        "recipe": dict(flat(recipe.model_dump(mode="json"))),
        "environment": _environment(path),
    }


def flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`window.size`: `4`."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


def differing(recipes: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that are not the same in all of them."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    return [key for key in keys if len({recipe.get(key) for recipe in recipes}) > 1]


def _axes(lines: Sequence[Mapping[str, Any]], recipe: Recipe) -> dict[str, list[float]]:
    """What a curve may be drawn over: at the end of each iteration."""
    iterations = [line["iteration"] + 1 for line in lines]
    images = recipe.rollout.prompts * recipe.rollout.group_size
    return {
        "iterations": iterations,
        "images": [iteration * images for iteration in iterations],
        "seconds": [round(total, 1) for total in accumulate(sum(line["seconds"].values()) for line in lines)],
    }


def _curves(lines: Sequence[Mapping[str, Any]], recipe: Recipe) -> dict[str, list[float | None]]:
    """Only those that the run has."""
    stages = dict.fromkeys(stage for line in lines for stage in line["seconds"])
    curves = {
        **{f"reward: {name}": [line["rewards"].get(name) for line in lines] for name in recipe.rewards},
        **{name: [line.get(name) for line in lines] for name in _CURVES},
        "skipped_groups": [line["skipped_groups"] / recipe.rollout.prompts for line in lines],
        **{f"seconds: {stage}": [line["seconds"].get(stage) for line in lines] for stage in stages},
    }
    return {
        name: [_rounded(value) for value in values]
        for name, values in curves.items()
        if any(value is not None for value in values)
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else float(f"{value:.5g}")


def _evaluations(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """In their order."""
    for file in sorted(folder.path.glob("evaluation-*.json")):
        yield json.loads(file.read_text(encoding="utf-8"))


def _compared(path: Path) -> dict[str, Any]:
    """What `mixgrpo eval` found; empty if it was not asked."""
    file = path / "comparison.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def movers(per_prompt: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """The prompts whose weighted rewards rose and fell most, the best first. Those that stayed are no movers."""

    def total(scores: Mapping[str, float | None]) -> float | None:
        known = [weight * score for name, weight in weights.items() if (score := scores.get(name)) is not None]
        return sum(known) if len(known) == len(weights) else None

    both = [(each["prompt"], total(each["base"]), total(each["tuned"])) for each in per_prompt]
    moved = [
        {"prompt": prompt, "before": before, "after": after}
        for prompt, before, after in both
        if before is not None and after is not None and before != after
    ]
    moved.sort(key=lambda mover: mover["before"] - mover["after"])
    best, worst = moved[:_MOVERS], moved[max(_MOVERS, len(moved) - _MOVERS) :]
    return [*best, *worst]


def _environment(path: Path) -> dict[str, str]:
    file = path / "environment.json"
    return dict(flat(json.loads(file.read_text(encoding="utf-8")))) if file.is_file() else {}


def _findings(lines: Sequence[dict[str, Any]], recipe: Recipe) -> Iterator[dict[str, Any]]:
    """As they were said during the run: every ten iterations, of those before."""
    for end in range(TREND, len(lines) + 1, TREND):
        recent = lines[max(0, end - RECENT) : end]
        for name, said in diagnose(recent, recipe).items():
            yield {"iteration": lines[end - 1]["iteration"] + 1, "name": name, "text": said}


def failures(lines: Sequence[Mapping[str, Any]], rewards: Iterable[str], damaged: int) -> list[str]:
    """Of rewards and of the record."""
    said = [f"{damaged} damaged lines in metrics.jsonl were left out"] if damaged else []
    for name in rewards:
        failed = sum(line["failed_scores"].get(name, 0) for line in lines)
        retried = sum(line["retried_scores"].get(name, 0) for line in lines)
        if failed or retried:
            last = next((e for line in reversed(lines) if (e := line["score_errors"].get(name))), "")
            said.append(f"{name}: {retried} scores asked for again, {failed} failed. {last}".strip())
    return said
