"""The phases of a run, as they are seen from outside: by what it has printed and what lies in its folder."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from launching import ITERATIONS, Launched, iterations_shown, since_the_last_iteration


class Aim(NamedTuple):
    phase: str
    reached: Callable[[Launched, Path], bool]
    longest_delay: float
    """In seconds: a random part of it passes between the phase's begin and the kill."""


def printed(text: str, times: int = 1) -> Callable[[Launched, Path], bool]:
    return lambda launched, _: sum(text in line for line in launched.lines) >= times


def after_iteration(done: int, text: str) -> Callable[[Launched, Path], bool]:
    """`text` was printed after that iteration's line."""

    def reached(launched: Launched, _: Path) -> bool:
        lines = [*launched.lines]
        return iterations_shown(lines) == done and any(text in line for line in since_the_last_iteration(lines))

    return reached


def saved(done: int) -> Callable[[Launched, Path], bool]:
    return lambda _, folder: (folder / "checkpoints" / f"{done:06}").exists()


def saving(done: int) -> Callable[[Launched, Path], bool]:
    return lambda _, folder: (folder / "checkpoints" / f".{done:06}.part").exists()


def aims(random: Random) -> list[Aim]:
    """Fifteen, each phase at least once."""
    at = iter(random.sample(range(1, ITERATIONS), 5))
    first, second = next(at), next(at)
    return [
        Aim("loading", lambda *_: True, 4.0),
        Aim("preflight", printed("preflight"), 0.2),
        Aim("preflight", printed("preflight", random.randint(2, 6)), 0.2),
        Aim("first save", saving(0), 0.02),
        Aim("rollout", saved(0), 0.2),
        Aim("rollout", saved(next(at)), 0.2),
        Aim("update", after_iteration(1, "scored group"), 0.04),
        Aim("update", after_iteration(ITERATIONS - 2, "scored group"), 0.04),
        Aim("save", saving(first), 0.02),
        Aim("save", saving(second), 0.1),
        Aim("first evaluation", after_iteration(2, "scored evaluation"), 0.1),
        Aim("evaluation on the way", printed("evaluation prompts after 0 iterations"), 0.3),
        Aim("last save", saving(ITERATIONS), 0.02),
        Aim("export", lambda _, folder: (folder / ".transformer.part").exists(), 0.02),
        Aim("last evaluation", lambda _, folder: (folder / "transformer").exists(), 0.5),
    ]


def phase_of(lines: list[str], folder: Path) -> str:
    """Where a run that is dead now was."""
    checkpoints, done = folder / "checkpoints", iterations_shown(lines)
    if parts := [*checkpoints.glob(".0*.part")]:
        return f"save of {int(parts[0].name[1:7])}"
    if (folder / ".transformer.part").exists():
        return "export"
    if not any(checkpoints.glob("0*")):
        return "preflight" if any("preflight" in line for line in lines) else "loading"
    if not (checkpoints / f"{done:06}").exists():
        return f"before the save of {done}"
    since = since_the_last_iteration(lines)
    if any("Done in" in line for line in since):
        return "after the end"
    if done == ITERATIONS:
        return "last evaluation" if (folder / "transformer").exists() else "before the export"
    if any("evaluation prompts after 0 iterations" in line for line in since):
        return f"evaluation after {done + 1}"
    scored = [line for line in since if (line.startswith("scored") and done > 0) or line == "scored group"]
    if done > 0 and "scored evaluation" in scored:
        return f"first evaluation, after {done + 1}"
    # Before the first iteration's line stand the preflight's groups, which were scored before the last of its words.
    if done == 0:
        last_words = max((i for i, line in enumerate(lines) if line.startswith("preflight")), default=-1)
        scored = [line for line in lines[last_words + 1 :] if line == "scored group"]
    return f"update of {done + 1}" if scored else f"rollout of {done + 1}"
