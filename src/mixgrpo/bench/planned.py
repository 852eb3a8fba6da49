"""What `mixgrpo plan` says of a GPU's memory and time, beside what an iteration takes there.

    python -m mixgrpo.bench.planned docs/results/planned.json

Networks of the published sizes with random weights, one prompt with four images; nothing is downloaded. A case with a
cap runs on a GPU whose other memory is locked away from it.
"""

import gc
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import adapt
from mixgrpo.parallel import distributed
from mixgrpo.planning.published import published
from mixgrpo.recipe.load import load_recipe
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer

from .environment import machine
from .plans import differing, planned
from .timing import Clock

_SHORT = (
    "rollout.prompts=1 rollout.group_size=4 rollout.micro_batch=4 grid.steps=8 window.range=[0,6] update.minibatches=2"
)
_BUS = "440"
"""Gbit/s from pinned memory to an H100, measured."""
_GIB = 2**30


@dataclass(frozen=True)
class Case:
    recipe: str
    changes: str
    cap: float | None = None
    """Bytes of the GPU that are used."""

    @property
    def overrides(self) -> list[str]:
        return [*_SHORT.split(), *self.changes.split()]


CASES = (
    Case("flux-dev-hpdv2-1x80gb", ""),
    Case("flux-dev-hpdv2-1x80gb", "update.gradient_checkpointing=false rollout.micro_batch=1"),
    Case(
        "flux-dev-hpdv2-1x80gb",
        "parallel.offload=true rollout.group_size=12 rollout.micro_batch=12 grid.steps=5 window.range=[0,4]",
        cap=24e9,
    ),
    Case("sd35-medium-geneval-1x24gb", "tune=full objective.kl_weight=0 update.ema_decay=0.9"),
    Case("sd35-medium-geneval-1x24gb", "update.gradient_checkpointing=false rollout.micro_batch=2"),
)


def measured(case: Case, device: torch.device) -> dict[str, Any]:
    """Peaks and seconds of drawing and of learning, in the second of two iterations; in the first, where offloading
    makes them long.
    """
    recipe = load_recipe(case.recipe, case.overrides)
    torch.cuda.set_per_process_memory_fraction(1.0, device)
    pipeline = published(recipe.model.path, getattr(torch, recipe.model.dtype), device)
    pipeline.to(getattr(torch, recipe.model.dtype))  # buffers, as after loading
    if recipe.parallel.offload:
        pipeline.to("cpu")
        torch.cuda.empty_cache()
    if case.cap:
        torch.cuda.set_per_process_memory_fraction(case.cap / distributed.device_memory(device), device)
    settings = recipe.model
    model = adapt(pipeline, settings.height, settings.width, settings.guidance_scale, settings.max_sequence_length)
    policy = make_policy(model, recipe, device=device)
    trainer = Trainer(recipe, policy, dict.fromkeys(recipe.rewards, differing), prompts_of(["a fox in the snow"]))
    for k in range(1 if recipe.parallel.offload else 2):
        torch.cuda.reset_peak_memory_stats(device)
        clock = Clock(device)
        generation = trainer.generate(k, trainer.plan_at(k), trainer.prompts, range(1))
        scored = trainer.scorer.collect()
        drawing, peak = clock.split(), torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        signal = trainer.signal({name: values.view(1, -1) for name, values in scored.values.items()}, range(1))
        trainer.update(k, generation, signal)
        learning = clock.split()
    return {
        "drawing": {"bytes": peak, "seconds": drawing},
        "learning": {"bytes": torch.cuda.max_memory_allocated(device), "seconds": learning},
        "reserved_bytes": torch.cuda.max_memory_reserved(device),
    }


_PARTS = {"drawing": ("encode", "rollout", "decode"), "learning": ("update", "optimizer")}


def _by_part(plan: dict[str, Any]) -> dict[str, Any]:
    stages, work = plan["stages_bytes"], plan["work"]
    return {
        part: {
            "bytes": max(stages[stage]["sum"] for stage in names),
            **{
                key: sum(work[stage][key] for stage in names if stage in work)
                for key in ("flops", "copied_bytes", "seconds")
            },
        }
        for part, names in _PARTS.items()
    }


def main(json_file: Path, cases: Sequence[Case] = CASES) -> None:
    device = distributed.device()
    if device.type != "cuda":
        print("there is no GPU, so nothing is measured")
        return
    rows: list[dict[str, Any]] = []
    # Those that are waited for are made while the GPU is at work on the first.
    plans = ThreadPoolExecutor().map(lambda case: planned(case.recipe, case.overrides, 1, "--bus-gbps", _BUS), cases)
    table = Table("recipe", "changes", "part", "planned GiB", "measured GiB", "planned s", "measured s", "TFLOP/s")
    for case, plan_of_case in zip(cases, plans, strict=True):
        row: dict[str, Any] = {"recipe": case.recipe, "changes": case.changes, "cap_bytes": case.cap}
        row["planned"] = plan = _by_part(plan_of_case)
        begin = time.monotonic()
        try:
            row["measured"] = found = measured(case, device)
        except torch.OutOfMemoryError as error:
            row["error"] = str(error)
            table.add_row(case.recipe, case.changes, str(error)[:80])
        else:
            for part in _PARTS:
                one, other = plan[part], found[part]
                table.add_row(
                    case.recipe,
                    case.changes,
                    part,
                    *(f"{size['bytes'] / _GIB:.2f}" for size in (one, other)),
                    *(f"{size['seconds']:.2f}" for size in (one, other)),
                    f"{one['flops'] / other['seconds'] / 1e12:.0f}",
                )
        row["seconds_in_all"] = time.monotonic() - begin
        print(json.dumps(row), flush=True)
        rows.append(row)
        gc.collect()
        torch.cuda.empty_cache()
        json_file.write_text(json.dumps({**machine(device), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    Console(highlight=False, width=200).print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
