"""Put one fault at a time into a copy of the package, run the tests of its file, and report what is not caught.

    python tests/mutants/try_faults.py [FILE ...]

Exit status 1 if fewer than 95% are caught, or if a fault fits no longer.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from faults import FAULTS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "mixgrpo"
SUFFICIENT = 0.95
WORKERS = len(os.sched_getaffinity(0))


class Fault(NamedTuple):
    file: str
    text: str
    replacement: str
    tests: str


class Outcome(NamedTuple):
    fault: Fault
    caught: bool
    seconds_hint: str


def faults(files: list[str]) -> list[Fault]:
    return [
        Fault(file, text, replacement, tests)
        for file, (tests, pairs) in FAULTS.items()
        if not files or file in files
        for text, replacement in pairs
    ]


def check_that_they_fit(chosen: list[Fault]) -> None:
    misfits = [fault for fault in chosen if (PACKAGE / fault.file).read_text(encoding="utf-8").count(fault.text) != 1]
    for fault in misfits:
        print(f"{fault.file}: {fault.text!r} does not occur exactly once", file=sys.stderr)
    if misfits:
        sys.exit(1)


def try_fault(fault: Fault) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "src")
        shutil.copytree(PACKAGE, source / "mixgrpo", ignore=shutil.ignore_patterns("__pycache__"))
        file = source / "mixgrpo" / fault.file
        file.write_text(file.read_text(encoding="utf-8").replace(fault.text, fault.replacement), encoding="utf-8")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                *fault.tests.split(),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
    if done.returncode not in (0, 1):  # 1: a test failed
        raise RuntimeError(f"{fault}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return Outcome(fault, done.returncode == 1, done.stdout.splitlines()[-1])


def main(files: list[str]) -> None:
    chosen = faults(files)
    check_that_they_fit(chosen)
    survivors = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for number, outcome in enumerate(pool.map(try_fault, chosen), start=1):
            fault = outcome.fault
            word = "caught  " if outcome.caught else "SURVIVED"
            print(
                f"{number:4}/{len(chosen)}  {word}  {fault.file}: {fault.text.strip()} -> {fault.replacement.strip()}",
                flush=True,
            )
            if not outcome.caught:
                survivors.append(fault)
    caught = len(chosen) - len(survivors)
    print(f"{caught} of {len(chosen)} faults caught, {caught / len(chosen):.1%}")
    sys.exit(caught < SUFFICIENT * len(chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
