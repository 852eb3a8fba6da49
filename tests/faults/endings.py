"""Fifty runs in a row of two processes under torchrun: does every one end well?

    python tests/faults/endings.py [JSON] [--runs N]

Each must end with exit status 0 and leave a finished run. Exit status 1 if one does not.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from launching import Launched, small_run

ITERATIONS = 2
LEFT = ("transformer", f"checkpoints/{ITERATIONS:06}/manifest.json", f"evaluation-{ITERATIONS:06}.json", "best.json")


def one_run(folder: Path) -> dict[str, Any]:
    launched = Launched(2, [*small_run(folder), f"iterations={ITERATIONS}", "evaluation.prompts=4"])
    status = launched.wait()
    missing = [name for name in LEFT if not (folder / name).exists()]
    good = status == 0 and not missing and "Done in" in launched.output
    return {
        "status": status,
        "seconds": round(launched.times[-1] - launched.begin, 1),
        "missing": missing,
        **({} if good else {"output": launched.output}),
    }


def main(file: Path | None, count: int) -> None:
    work = Path(tempfile.mkdtemp(prefix="endings-"))
    runs: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        folder = work / f"run-{number}"
        runs.append(one_run(folder))
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{number}/{count}  status {runs[-1]['status']}  {runs[-1]['seconds']} s", flush=True)
        if "output" in runs[-1]:
            print(runs[-1]["output"], flush=True)
        good = sum("output" not in run for run in runs)
        if file is not None:
            content = {"command": "make kill", "finished_with_status_0": good, "of": number, "runs": runs}
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work)
    print(f"{good} of {count} ended with status 0 and left a finished run")
    sys.exit(good < count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("json", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=50)
    given = parser.parse_args()
    main(given.json, given.runs)
