"""How cost and memory grow with steps, window, group, prompts and picture size, and whether as predicted.

A prediction knows the plan and two prices, of a forward and of a forward-backward, each a + b * rows, measured at that
picture size beforehand. It adds up the calls that the plan makes; nothing is fitted to what is predicted.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixgrpo.recipe.schema import Recipe
from mixgrpo.sampling.plan import Plan

from .progress_bar import Wait
from .setup import Ground
from .timing import lap, median_seconds

AXES: dict[str, list[tuple[int, dict[str, dict[str, Any]]]]] = {
    "steps": [(n, {"grid": {"steps": n}}) for n in (10, 15, 25, 40)],
    "window": [(n, {"window": {"size": n}}) for n in (1, 2, 4, 8)],
    "images a prompt": [(n, {"rollout": {"group_size": n}}) for n in (4, 8, 12, 24)],
    "prompts": [(n, {"rollout": {"prompts": n}}) for n in (2, 4, 8, 16)],
    "pixels": [(n, {"model": {"height": n, "width": n}}) for n in (64, 96, 128)],
}
_MICRO_BATCH, _FEW = 32, 4
_POSITION = 8  # of the window


class Price(NamedTuple):
    call: float
    row: float

    def of(self, rows: int) -> float:
        return self.call + self.row * rows


class Prices(NamedTuple):
    forward: Price
    forward_backward: Price


def measure(ground: Ground, repetitions: int, wait: Wait) -> dict[str, Any]:
    cases = [(axis, value, changes) for axis, points in AXES.items() for value, changes in points]
    prices: dict[int, Prices] = {}
    rows = []
    lap(ground, recipe_of(ground, {}), 0)
    for axis, value, changes in wait(cases):
        recipe = recipe_of(ground, changes)
        warm = lap(ground, recipe, 0, memory=True)
        if recipe.model.height not in prices:
            prices[recipe.model.height] = price_calls(ground, recipe)
        laps = [lap(ground, recipe, number) for number in range(repetitions)]
        seconds = statistics.median(one.model_seconds for one in laps)
        predicted = predict(recipe, recipe.plan_at(0, ground.trainer(recipe).grid), prices[recipe.model.height])
        rows.append(
            {
                "axis": axis,
                "value": value,
                "seconds": seconds,
                "predicted_seconds": predicted,
                "predicted_to_measured": predicted / seconds,
                "peak_mib": warm.peak_mib,
            }
        )
    return {"rows": rows}


def recipe_of(ground: Ground, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    sections: dict[str, dict[str, Any]] = {
        "window": {"strategy": "frozen", "size": 4, "range": None},
        "rollout": {"micro_batch": _MICRO_BATCH},
    }
    for name, section in changes.items():
        sections[name] = {**sections.get(name, {}), **section}
    start = min(_POSITION, sections.get("grid", {}).get("steps", ground.steps) // 3)
    sections["window"]["range"] = [start, start + sections["window"]["size"]]
    return ground.recipe("mixgrpo", **sections)


def price_calls(ground: Ground, recipe: Recipe) -> Prices:
    """A line through a call of few rows and one of a full micro-batch."""
    trainer = ground.trainer(recipe)
    model, told = trainer.model, trainer.encode(["a"])

    def call(rows: int) -> Tensor:
        latents = torch.randn(rows, *model.latent_shape, device=ground.device)
        sigma = torch.full((rows,), 0.5, device=ground.device)
        with trainer.precision():
            return model.velocity(latents, sigma, told[torch.zeros(rows, dtype=torch.long, device=ground.device)])

    @torch.no_grad()
    def forward(rows: int) -> None:
        call(rows)

    def forward_backward(rows: int) -> None:
        call(rows).square().mean().backward()  # type: ignore[no-untyped-call]

    return Prices(*(_line(run, ground.device) for run in (forward, forward_backward)))


def _line(run: Callable[[int], None], device: torch.device) -> Price:
    few, many = _FEW, _MICRO_BATCH
    first, second = (median_seconds(partial(run, rows), device) for rows in (few, many))
    row = (second - first) / (many - few)
    return Price(first - row * few, row)


def calls(plan: Plan, prompts: int, group_size: int, micro_batch: int) -> tuple[list[int], list[int]]:
    """The rows of each call of the model: in the rollout, and in the update."""
    images, fork = prompts * group_size, plan.num_common - 1
    rollout = [prompts if i <= fork else images for i in range(len(plan.steps))]
    update = [prompts if i == fork else images for i in plan.trained]

    def batches(totals: Sequence[int]) -> list[int]:
        return [min(micro_batch, total - start) for total in totals for start in range(0, total, micro_batch)]

    return batches(rollout), batches(update)


def predict(recipe: Recipe, plan: Plan, prices: Prices) -> float:
    settings = recipe.rollout
    rollout, update = calls(plan, settings.prompts, settings.group_size, settings.micro_batch)
    return sum(map(prices.forward.of, rollout)) + sum(map(prices.forward_backward.of, update))
