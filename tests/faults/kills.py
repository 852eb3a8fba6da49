"""Kill runs at 30 moments and resume them: is anything lost?

    python tests/faults/kills.py [JSON]

Fifteen of one process, fifteen of two under torchrun, where the signal takes one of them or all at once. What a resumed
run leaves is compared with an uninterrupted run of as many processes, to the bit. Exit status 1 if any differs.
"""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from comparing import differences
from launching import SMALL, Launched, finished, small_run
from phases import Aim, aims, phase_of

SEED = 11
KILLED = ("all", "rank 0", "rank 1")


def kill(launched: Launched, what: str) -> None:
    if what == "all":
        launched.kill()
    else:
        os.kill(launched.ranks()[int(what[-1])], signal.SIGKILL)


def one_kill(aim: Aim, processes: int, what: str, delay: float, reference: Path, folder: Path) -> dict[str, Any]:
    start = small_run(folder)
    launched = Launched(processes, start)
    reached = launched.wait_until(lambda: aim.reached(launched, folder))
    time.sleep(delay)
    if processes > 1 and not launched.wait_until(lambda: len(launched.ranks()) == processes):
        reached = False
    if not reached or launched.ended:
        return {"aim": aim.phase, "error": "ended before the kill", "output": launched.output}
    kill(launched, what)
    killed_at = time.monotonic()
    launched.wait()
    seconds = time.monotonic() - killed_at
    phase = phase_of(launched.lines, folder)
    again = not any((folder / "checkpoints").glob("0*"))
    resumed = Launched(processes, start if again else ["resume", str(folder)])
    status = resumed.wait()
    came_from = re.search(r"continuing from iteration (\d+)", resumed.output)
    differing = differences(reference, folder) if status == 0 else [f"exit status {status}: {resumed.output[-2000:]}"]
    return {
        "processes": processes,
        "killed": what if processes > 1 else "the process",
        "aim": aim.phase,
        "phase": phase,
        "seconds_until_all_were_gone": round(seconds, 2),
        "continued": "train again" if again else f"resume from {came_from[1] if came_from else '?'}",
        "equal": not differing,
        **({"differs": differing} if differing else {}),
    }


def kills(processes: int, work: Path, report: Callable[[dict[str, Any]], None]) -> None:
    random = Random(SEED + processes)
    reference = work / f"straight-{processes}"
    finished(processes, small_run(reference))
    chosen = aims(random)
    for number, aim in enumerate(chosen):
        folder = work / f"killed-{processes}-{number}"
        what = KILLED[number % len(KILLED)] if processes > 1 else "all"
        row = one_kill(aim, processes, what, random.uniform(0, aim.longest_delay), reference, folder)
        report({"number": (processes - 1) * len(chosen) + number + 1, **row})
        if row.get("equal"):
            shutil.rmtree(folder)


def as_row(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['number']} | {row['aim']}: {row['error']} |"
    equal = "yes" if row["equal"] else f"NO: {', '.join(row['differs'])}"
    return (
        f"| {row['number']} | {row['processes']} | {row['killed']} | {row['phase']} | "
        f"{row['seconds_until_all_were_gone']:.1f} s | {row['continued']} | {equal} |"
    )


def main(file: Path | None) -> None:
    rows: list[dict[str, Any]] = []

    def report(row: dict[str, Any]) -> None:
        print(as_row(row), flush=True)
        rows.append(row)
        rows.sort(key=lambda row: row["number"])
        if file is not None:
            content = {"command": "make kill", "seed": SEED, "recipe": SMALL, "kills": rows}
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    print("| number | processes | killed | phase | gone after | continued | equal |\n|---|---|---|---|---|---|---|")
    work = Path(tempfile.mkdtemp(prefix="kills-"))
    with ThreadPoolExecutor() as side_by_side:
        for done in [side_by_side.submit(kills, processes, work, report) for processes in (1, 2)]:
            done.result()
    equal = sum(bool(row.get("equal")) for row in rows)
    print(f"\n{equal} of {len(rows)} equal to the run that was not killed")
    if equal < len(rows):
        print(f"What differs is in {work}")
        sys.exit(1)
    shutil.rmtree(work)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
