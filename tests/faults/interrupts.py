"""Press Ctrl-C in every phase of a run: how long until there is an answer, and until the prompt is back?

    python tests/faults/interrupts.py [JSON] [--repetitions N]

Of several repetitions the slowest counts. Exit status 1 if an answer takes more than two seconds, a process ends later
than five seconds after the second signal, or a traceback of ours is shown.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from launching import Launched, small_run
from phases import after_iteration, printed, saved, saving

LONGEST_SILENCE, LONGEST_END = 2.0, 5.0  # seconds

SLEEPING = """
import time

def score(images, prompts):
    print("asleep", flush=True)
    time.sleep(100)
"""


class Situation(NamedTuple):
    name: str
    begun: Callable[[Launched, Path], bool]
    processes: int = 1
    changes: tuple[str, ...] = ()
    signals: int = 1
    sleeping: bool = False


def _loaded(library: str) -> Callable[[Launched, Path], bool]:
    """By each of the processes that train."""

    def loaded(launched: Launched, _: Path) -> bool:
        pids = launched.ranks() if launched.processes > 1 else [launched.process.pid]
        maps = [Path(f"/proc/{pid}/maps").read_text(encoding="utf-8") for pid in pids]
        return len(maps) == launched.processes and all(library in text for text in maps)

    return loaded


# Long iterations and evaluations, so that a signal meets them, and that waiting for them would show.
_LONG_ITERATION = ("rollout.group_size=24", "grid.steps=12")
_LONG_EVALUATION = ("evaluation.prompts=514", "evaluation.steps=20")

SITUATIONS = [
    Situation("the first imports", _loaded("pydantic_core")),
    Situation("imports of libraries", _loaded("libtorch")),
    Situation("the model is loaded", lambda _, folder: (folder / "recipe.yaml").exists()),
    Situation("preflight", printed("preflight")),
    Situation("iteration", saved(1), changes=_LONG_ITERATION),
    Situation("first evaluation", after_iteration(2, "scored evaluation"), changes=_LONG_EVALUATION),
    Situation("evaluation on the way", printed("after 0 iterations"), changes=("evaluation.prompts=128",)),
    Situation("save", saving(2)),
    Situation("export", lambda _, folder: (folder / ".transformer.part").exists()),
    Situation(
        "last evaluation",
        lambda _, folder: (folder / "transformer").exists(),
        changes=(*_LONG_EVALUATION, "evaluation.every=0"),
    ),
    Situation("a reward sleeps, two signals", printed("asleep"), signals=2, sleeping=True),
    Situation("two processes, imports", _loaded("libtorch"), processes=2),
    Situation("two processes, preflight", printed("preflight"), processes=2),
    Situation("two processes, iteration", saved(1), processes=2, changes=_LONG_ITERATION),
    Situation("two processes, evaluation", after_iteration(2, "scored evaluation"), 2, _LONG_EVALUATION),
    Situation("two processes, a reward sleeps, two signals", printed("asleep"), 2, signals=2, sleeping=True),
]


def press(situation: Situation, folder: Path) -> dict[str, Any]:
    arguments = [*small_run(folder), *situation.changes]
    if situation.sleeping:
        own = folder.parent / "sleeping.py"
        own.write_text(SLEEPING, encoding="utf-8")
        arguments.append(f'rewards={{"{own}:score": 1.0}}')
    launched = Launched(situation.processes, arguments)
    if not launched.wait_until(lambda: situation.begun(launched, folder)):
        raise RuntimeError(f"{situation.name}: ended before\n{launched.output}")
    ranks = launched.ranks()
    heard_before, pressed = len(launched.lines), time.monotonic()
    launched.interrupt()
    for _ in range(situation.signals - 1):
        time.sleep(1.0)
        launched.interrupt()
    last = time.monotonic()
    launched.wait_until(lambda: not any(_alive(rank) for rank in ranks))
    ranks_ended = time.monotonic()
    status = launched.wait()
    ended = time.monotonic()
    said = [
        (moment - pressed, line)
        for moment, line in zip(launched.times[heard_before:], launched.lines[heard_before:], strict=True)
        if line.startswith(("stopping", "stopped"))
    ]
    return {
        "situation": situation.name,
        "processes": situation.processes,
        "signals": situation.signals,
        "seconds_to_words": round(said[0][0], 2) if said else None,
        "seconds_to_exit": round(ended - last, 2),
        **({"seconds_to_exit_of_the_ranks": round(ranks_ended - last, 2)} if ranks else {}),
        "status": status if status >= 0 else signal.Signals(-status).name,
        "first_words": said[0][1] if said else "",
        "last_words": said[-1][1].replace(str(folder), "RUN") if said else "",
        "traceback": _traceback(launched),
    }


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def _traceback(launched: Launched) -> bool:
    """Of the command, or of one of the processes under torchrun, not of torchrun itself, which always shows one."""
    blocks = launched.output.split("Traceback (most recent call last):")[1:]
    return any("SignalException" not in block for block in blocks)


def bad(row: dict[str, Any]) -> list[str]:
    silent = row["seconds_to_words"] is None or row["seconds_to_words"] > LONGEST_SILENCE
    # torchrun takes seconds for an end of its own.
    late = row["signals"] > 1 and row.get("seconds_to_exit_of_the_ranks", row["seconds_to_exit"]) > LONGEST_END
    return [what for what, wrong in (("silent", silent), ("late", late), ("traceback", row["traceback"])) if wrong]


def slowest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the repetitions: each time the largest, the words of the worst."""
    worst = max(rows, key=lambda row: (len(bad(row)), row["seconds_to_words"] or 0.0))
    times = [name for name in worst if name.startswith("seconds_to_exit")]
    return {
        **worst,
        **{name: max(row[name] for row in rows) for name in times},
        "traceback": any(row["traceback"] for row in rows),
    }


def main(file: Path | None, repetitions: int, only: str) -> None:
    work = Path(tempfile.mkdtemp(prefix="interrupts-"))
    print("| situation | first words after | prompt after | status | last words | |\n|---|---|---|---|---|---|")
    rows = []
    for number, situation in enumerate(SITUATIONS):
        if only not in situation.name:
            continue
        rows.append(slowest([press(situation, work / f"{number}-{i}") for i in range(repetitions)]))
        row = rows[-1]
        print(
            f"| {row['situation']} | {row['seconds_to_words']} s | {row['seconds_to_exit']} s | {row['status']} | "
            f"{row['last_words']} | {', '.join(bad(row))} |",
            flush=True,
        )
        if file is not None:
            content = {"command": "make kill", "repetitions": repetitions, "situations": rows}
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work)
    sys.exit(any(bad(row) for row in rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("json", type=Path, nargs="?")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--only", default="", help="A part of the situations' names.")
    given = parser.parse_args()
    main(given.json, given.repetitions, given.only)
