"""`make bench-gpu`: what an iteration takes on a GPU, for the model that ships and for one of FLUX.1-dev's size.

A table, and the same numbers as JSON. Nothing is downloaded: the large model's weights are random.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mixgrpo.parallel import distributed
from mixgrpo.recipe.presets import Algorithm

from .environment import machine
from .flux_dev_shape import FLUX_DEV_SHAPE
from .setup import BenchSetup, bench_setup
from .timing import time_iteration

_ALGORITHMS: tuple[Algorithm, ...] = ("mixgrpo", "turbo")
_PARTS = ("rollout", "decode", "reward", "update")


def setups(device: torch.device) -> dict[str, BenchSetup]:
    """Full tuning of 4 prompts with 12 images each; LoRA on one prompt with 4 images of 720 x 720."""
    return {
        "scenes": bench_setup("scenes", str(device), "bfloat16"),
        FLUX_DEV_SHAPE: bench_setup(FLUX_DEV_SHAPE, str(device), prompts=1, group_size=4),
    }


def measure(setups: Mapping[str, BenchSetup], algorithms: Sequence[Algorithm] = _ALGORITHMS) -> list[dict[str, Any]]:
    """One row per model and algorithm: the second of two iterations."""
    rows = []
    for name, setup in setups.items():
        for algorithm in algorithms:
            row: dict[str, Any] = {"model": name, "algorithm": algorithm}
            try:
                recipe = setup.recipe(algorithm)
                time_iteration(setup, recipe, 0)
                timing = time_iteration(setup, recipe, 1, memory=True)
            except torch.OutOfMemoryError as error:
                row["error"] = f"out of memory: {error}"
            else:
                row |= asdict(timing) | {"images": setup.prompts * setup.group_size, "seconds": timing.seconds}
            rows.append(row)
        setup.release()
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    result = Table("model", "algorithm", "images", *(f"{part} s" for part in _PARTS), "images/s", "peak GiB")
    result.caption = "peak memory above what the model takes"
    for row in rows:
        if "error" in row:
            result.add_row(row["model"], row["algorithm"], row["error"])
            continue
        seconds = (f"{row[part]:.2f}" for part in _PARTS)
        rate, peak = row["images"] / row["seconds"], row["peak_bytes"]
        gib = "-" if peak is None else f"{peak / 2**30:.2f}"
        result.add_row(row["model"], row["algorithm"], str(row["images"]), *seconds, f"{rate:.2f}", gib)
    return result


def main(json_file: Path) -> None:
    device = distributed.device()
    if device.type == "cpu":
        print("bench-gpu: there is no GPU, so nothing is measured")
        return
    rows = measure(setups(device))
    Console(highlight=False).print(table(rows))
    result = {**machine(device), "rows": rows}
    json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
