"""How cost and memory grow with steps, window, group, prompts and image size, measured and predicted.

A prediction uses the plan and the cost of two kinds of calls, forward and forward-backward: a constant plus a cost per
row, measured beforehand at the same image size. It adds up the calls of the plan. Nothing is fitted to what is
predicted.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.schema import Recipe
from mixgrpo.sampling.plan import Plan

from .progress import Track
from .setup import BenchSetup
from .timing import median_seconds, time_iteration

# The axes that change the model come last: each of their points loads it anew.
AXES: dict[str, list[tuple[int, dict[str, dict[str, Any]]]]] = {
    "steps": [(n, {"grid": {"steps": n}}) for n in (10, 15, 25, 40)],
    "window": [(n, {"window": {"size": n}}) for n in (1, 2, 4, 8)],
    "images per prompt": [(n, {"rollout": {"group_size": n}}) for n in (4, 8, 12, 24)],
    "prompts": [(n, {"rollout": {"prompts": n}}) for n in (2, 4, 8, 16)],
    "pixels": [(n, {"model": {"height": n, "width": n}}) for n in (64, 96, 128)],
}
_MICRO_BATCH, _FEW_ROWS = 32, 4
_POSITION = 8  # of the window


class CallCost(NamedTuple):
    """Seconds of a model call."""

    per_call: float
    per_row: float

    def seconds(self, rows: int) -> float:
        return self.per_call + self.per_row * rows


class CallCosts(NamedTuple):
    forward: CallCost
    forward_backward: CallCost


def measure(setup: BenchSetup, repetitions: int, track: Track) -> dict[str, Any]:
    points = [(axis, value, changes) for axis, values in AXES.items() for value, changes in values]
    costs: dict[int, CallCosts] = {}
    rows = []
    time_iteration(setup, recipe_of(setup, {}), 0)
    for axis, value, changes in track(points):
        recipe = recipe_of(setup, changes)
        size = recipe.model.height
        warmup = time_iteration(setup, recipe, 0, memory=True)
        if size not in costs:
            costs[size] = measure_calls(setup, recipe)
        timings = [time_iteration(setup, recipe, number) for number in range(repetitions)]
        seconds = statistics.median(timing.model_seconds for timing in timings)
        predicted = predict(recipe, setup.trainer(recipe).plan_at(0), costs[size])
        rows.append(
            {
                "axis": axis,
                "value": value,
                "seconds": seconds,
                "predicted_seconds": predicted,
                "predicted_to_measured": predicted / seconds,
                "peak_mib": warmup.peak_mib,
            }
        )
    return {"rows": rows}


def recipe_of(setup: BenchSetup, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """MixGRPO with a frozen window, and these changes."""
    sections: dict[str, dict[str, Any]] = {
        "window": {"strategy": "frozen", "size": 4, "range": None},
        "rollout": {"micro_batch": _MICRO_BATCH},
    }
    for name, section in changes.items():
        sections[name] = {**sections.get(name, {}), **section}
    start = min(_POSITION, sections.get("grid", {}).get("steps", setup.steps) // 3)
    sections["window"]["range"] = [start, start + sections["window"]["size"]]
    return setup.recipe("mixgrpo", **sections)


def measure_calls(setup: BenchSetup, recipe: Recipe) -> CallCosts:
    trainer = setup.trainer(recipe)
    model, conditioning = trainer.model, trainer.encode([Prompt("a", {})])

    def call(rows: int) -> Tensor:
        latents = torch.randn(rows, *model.latent_shape, device=setup.device)
        sigma = torch.full((rows,), 0.5, device=setup.device)
        prompt_of = torch.zeros(rows, dtype=torch.long, device=setup.device)
        with trainer.precision():
            return model.velocity(latents, sigma, conditioning[prompt_of])

    @torch.no_grad()
    def forward(rows: int) -> None:
        call(rows)

    def forward_backward(rows: int) -> None:
        call(rows).square().mean().backward()  # type: ignore[no-untyped-call]

    costs = CallCosts(*(_call_cost(run, setup.device) for run in (forward, forward_backward)))
    trainer.policy.weights.optimizer.zero_grad()
    return costs


def _call_cost(run: Callable[[int], None], device: torch.device) -> CallCost:
    """The line through a call of few rows and a call of a full micro-batch."""
    few, full = (median_seconds(partial(run, rows), device) for rows in (_FEW_ROWS, _MICRO_BATCH))
    per_row = (full - few) / (_MICRO_BATCH - _FEW_ROWS)
    return CallCost(few - per_row * _FEW_ROWS, per_row)


def rows_per_call(plan: Plan, prompts: int, group_size: int, micro_batch: int) -> tuple[list[int], list[int]]:
    """The rows of each model call in the rollout, and in the update."""
    images, fork = prompts * group_size, plan.num_common - 1
    rollout = [prompts if i <= fork else images for i in range(len(plan.steps))]
    update = [prompts if i == fork else images for i in plan.trained]

    def batches(totals: Sequence[int]) -> list[int]:
        return [min(micro_batch, total - start) for total in totals for start in range(0, total, micro_batch)]

    return batches(rollout), batches(update)


def predict(recipe: Recipe, plan: Plan, costs: CallCosts) -> float:
    """Seconds of rollout and update."""
    settings = recipe.rollout
    rollout, update = rows_per_call(plan, settings.prompts, settings.group_size, settings.micro_batch)
    return sum(map(costs.forward.seconds, rollout)) + sum(map(costs.forward_backward.seconds, update))
