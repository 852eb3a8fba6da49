"""What a run prints: one line an iteration, a bar below them in a terminal, and a summary at the end."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from mixgrpo.parallel import distributed
from mixgrpo.recipe.schema import Recipe

from . import diversity
from .bar import Bar
from .diagnosis import diagnose
from .preflight import Finding

TREND = 10  # iterations

RECENT = 2 * TREND
"""Number of iterations that a trend and a diagnosis look back."""


class Progress:
    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._console = Console(highlight=False, quiet=distributed.rank() != 0)
        self._begin = time.monotonic()
        self.bar = Bar(self._console, recipe.iterations)

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def found(self, finding: Finding) -> None:
        self.say(f"preflight  {'ok' if finding.ok else 'NO'}  {finding.what}: {finding.detail}")

    def show(self, recent: Sequence[dict[str, Any]]) -> None:
        """The last iteration, and its trend against those before."""
        metrics = recent[-1]
        mean_seconds = fmean(sum(earlier["seconds"].values()) for earlier in recent)
        left = mean_seconds * (self._recipe.iterations - metrics["iteration"] - 1)
        self.bar.done(metrics["iteration"] + 1, _minutes(left) if left else "")
        rewards = "  ".join(f"{name} {value:.3f}{_trend(recent, name)}" for name, value in metrics["rewards"].items())
        seconds = "+".join(f"{value:.1f}" for value in metrics["seconds"].values())
        self.say(
            f"{metrics['iteration'] + 1:>4}/{self._recipe.iterations}  {rewards}  {_update_numbers(metrics)}"
            f"{seconds} s  left {_minutes(left)}"
        )
        for name, again in metrics["retried_scores"].items():
            failed, why = metrics["failed_scores"][name], metrics["score_errors"].get(name, "")
            if again or failed:
                self.say(f"      {name}: {again} scores retried, {failed} failed and left out. {why}".rstrip())
        if (metrics["iteration"] + 1) % TREND == 0:
            for name, finding in diagnose(recent, self._recipe).items():
                self.say(f"      {name}: {finding}")

    def evaluated(self, iteration: int, result: dict[str, dict[str, float]], seconds: float) -> None:
        means = "  ".join(f"{name} {kinds['overall']:.3f}" for name, kinds in result.items())
        self.say(f"evaluation prompts after {iteration} iterations: {means}  ({seconds:.0f} s)")

    def compared(self, before: dict[str, dict[str, float]], now: dict[str, dict[str, float]]) -> None:
        """What has become worse since the start, whatever the rewards say."""
        if said := diversity.halved(before[diversity.NAME]["overall"], now[diversity.NAME]["overall"]):
            self.say(said)

    def finish(self, folder: Path, before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> None:
        self.say(f"\nDone in {_minutes(time.monotonic() - self._begin)}. The run is in {folder}")
        for name, kinds in after.items():
            start = before[name]["overall"]
            end = kinds["overall"]
            self.say(f"  {name} on the evaluation prompts: {start:.3f} -> {end:.3f} ({end - start:+.3f})")
        self.compared(before, after)
        self.say(
            f"Look at {folder}/report.html. Next:\n"
            f'  mixgrpo sample {folder} "a red star left of a blue circle"\n'
            f"  mixgrpo eval {folder}"
        )


def _update_numbers(metrics: dict[str, Any]) -> str:
    """Of the window and the objective, as far as there are any."""
    numbers = []
    if window := metrics["window"]:
        numbers.append(f"window {window[0]}-{window[-1]}")
    if "clip_fraction" in metrics:
        numbers.append(f"clipped {metrics['clip_fraction']:.0%}")
    if "first_ratio_error" in metrics:
        numbers.append(f"ratio error {metrics['first_ratio_error']:.0e}")
    if "kl" in metrics:
        numbers.append(f"kl {metrics['kl']:.1e}")
    return "".join(f"{number}  " for number in numbers)


def _trend(recent: Sequence[dict[str, Any]], name: str) -> str:
    """The mean of the last iterations, relative to those before them."""
    if len(recent) < RECENT:
        return ""
    values = [metrics["rewards"][name] for metrics in recent]
    return f" ({(sum(values[TREND:]) - sum(values[:TREND])) / TREND:+.3f})"


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
