"""A recipe's plan, as a picture and tables in the terminal or as JSON."""

from collections.abc import Sequence
from itertools import groupby, islice
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixgrpo.sampling.plan import Plan

from .pricing import Quote, affordable, counting_grid, quote
from .schema import Recipe

_MOST_ROWS = 30
_MOST_STEP_ROWS = 100
_MOST_DRAWN_STEPS = 400

# How a step of the grid is drawn: two columns, and a style.
_ODE = ("──", "blue")
_TRAINED = ("██", "bold red")
_UNTRAINED = ("▒▒", "red")
_COMPRESSED = ("◆ ", "green")
_SKIPPED = ("· ", "dim")


def plan_as_json(recipe: Recipe, iteration: int) -> dict[str, Any]:
    plan = recipe.plan_at(iteration, counting_grid(recipe))
    known = recipe.own_grid() is not None
    return {
        "description": recipe.description,
        "iteration": iteration,
        "iterations": recipe.iterations,
        "grid_steps": recipe.grid.steps,
        "group_size": recipe.rollout.group_size,
        "sigmas_known": known,
        "steps": [
            {
                "kind": _kind(plan, i),
                "method": _method(recipe, plan, i),
                "trained": step.trained,
                "common_to_group": recipe.rollout.shared_noise and i < plan.num_common,
                "sigma": step.sigma if known else None,
                "sigma_next": step.sigma_next if known else None,
            }
            for i, step in enumerate(plan.steps)
        ],
        "windows": [
            {"first_iteration": first, "last_iteration": last, "steps": list(window)}
            for first, last, window in _window_runs(recipe)
        ],
        "windows_end_at": min(recipe.iterations, affordable(recipe)),
        "cost_per_image": {
            f"iteration_{iteration}": {
                name: _quote_as_json(q) for name, q in _quotes(recipe, range(iteration, iteration + 1))
            },
            "whole_run": {name: _quote_as_json(q) for name, q in _quotes(recipe, range(recipe.iterations))},
        },
    }


def print_plan(recipe: Recipe, iteration: int) -> None:
    console = Console(highlight=False)
    plan = recipe.plan_at(iteration, counting_grid(recipe))
    console.print(Text(recipe.description or recipe.algorithm, style="bold"))
    console.print(
        f"iteration {iteration} of {recipe.iterations}: {len(plan.steps)} model steps on a grid of "
        f"{recipe.grid.steps}, {len(plan.window)} stochastic, {len(plan.trained)} trained\n"
    )
    console.print(_picture(plan))
    if recipe.window.strategy == "stratified":
        console.print(_windows_by_prompt(recipe, iteration))
    console.print(_legend(plan))
    if plan.window:
        console.print(_windows_over_the_run(recipe))
    console.print(_step_table(recipe, plan))
    console.print(_cost_table(recipe, iteration))


def _picture(plan: Plan) -> Text:
    """The grid's first steps in a row, two columns each, with a number above every fifth."""
    steps = min(plan.grid.num_steps, _MOST_DRAWN_STEPS)
    ruler = "".join(f"{i:<10}" for i in range(0, steps, 5))[: 2 * steps]
    return Text.assemble((f"  {ruler}\n", "dim"), "  ", _row(plan))


def _windows_by_prompt(recipe: Recipe, iteration: int) -> Table:
    """Of prompts that have windows of their own; those that follow each other share one."""
    grid, table = counting_grid(recipe), Table(title="\nPrompts", title_justify="left", box=None, show_header=False)
    table.add_column(justify="right", style="dim")
    table.add_column()
    runs = groupby(range(recipe.rollout.prompts), lambda prompt: recipe.window_at(iteration, prompt))
    for _, group in islice(runs, _MOST_ROWS):
        first, *others = group
        name = f"{first} - {others[-1]}" if others else str(first)
        table.add_row(name, _row(recipe.plan_at(iteration, grid, first)))
    return table


def _row(plan: Plan) -> Text:
    cells = []
    for i in range(min(plan.window.stop, _MOST_DRAWN_STEPS)):
        step = plan.steps[i]
        cells.append(_ODE if not step.stochastic else _TRAINED if step.trained else _UNTRAINED)
    remaining = plan.grid.num_steps - plan.window.stop
    calls = len(plan.steps) - plan.window.stop
    if calls == remaining:
        cells += [_ODE] * remaining
    else:
        called = {i * remaining // calls for i in range(calls)}
        cells += [_COMPRESSED if i in called else _SKIPPED for i in range(remaining)]
    return Text.assemble(*cells[:_MOST_DRAWN_STEPS])


def _legend(plan: Plan) -> Text:
    parts = [(_ODE, "ODE")]
    if plan.trained:
        parts.append((_TRAINED, "SDE, trained"))
    if len(plan.trained) < len(plan.window):
        parts.append((_UNTRAINED, "SDE, not trained"))
    if len(plan.steps) < plan.grid.num_steps:
        parts += [(_COMPRESSED, "ODE, compressed"), (_SKIPPED, "skipped")]
    return Text.assemble("\n", *(piece for drawn, name in parts for piece in ("  ", drawn, f" {name}")), "\n")


def _window_runs(recipe: Recipe) -> list[tuple[int, int, range]]:
    """(first iteration, last iteration, window) for every position of the window over the run, or over as much of it
    as can be looked at in a moment. Where prompts have windows of their own, it is the first prompt's.
    """
    runs = []
    for window, group in groupby(range(min(recipe.iterations, affordable(recipe))), recipe.window_at):
        iterations = list(group)
        runs.append((iterations[0], iterations[-1], window))
    return runs


def _windows_over_the_run(recipe: Recipe) -> Table:
    runs = _window_runs(recipe)
    grid = counting_grid(recipe)
    title = f"Window over the run ({recipe.window.strategy})"
    if recipe.window.strategy == "stratified":
        title += ", of the first prompt: others are spread evenly over the range"
    if recipe.window.trained_fraction < 1:
        title += f", {recipe.window.trained_fraction:.0%} of it trained: each iteration draws which"
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.add_column(justify="right", style="dim")
    table.add_column()
    period = _period(runs)
    for first, last, _ in runs[: period or _MOST_ROWS]:
        name = str(first) if first == last else f"{first} - {last}"
        table.add_row(name, _row(recipe.plan_at(first, grid)))
    if period:
        table.add_row("...", "and again from the first")
    elif len(runs) > _MOST_ROWS:
        table.add_row("...", f"{len(runs) - _MOST_ROWS} more")
    if runs[-1][1] < recipe.iterations - 1:
        table.add_row("...", f"and on to iteration {recipe.iterations - 1}")
    return table


def _period(runs: Sequence[tuple[int, int, range]]) -> int:
    """After so many positions the window is where it was, for as long; 0 if it never is. The last one may be cut."""
    stays = [(last - first, window) for first, last, window in runs[:-1]]
    for period in range(2, len(stays) // 2 + 1):
        if all(stay == stays[number % period] for number, stay in enumerate(stays)):
            return period
    return 0


def _step_table(recipe: Recipe, plan: Plan) -> Table:
    known = recipe.own_grid() is not None
    table = Table(title="\nSteps", title_justify="left", box=None)
    table.add_column("step", justify="right")
    table.add_column("kind")
    for name in ("sigma", "to", "std") if known else ():
        table.add_column(name, justify="right")
    table.add_column("calls per image", justify="right")
    group = recipe.rollout.group_size
    for i, step in enumerate(plan.steps[:_MOST_STEP_ROWS]):
        numbers = [f"{step.sigma:.4f}", f"{step.sigma_next:.4f}", f"{step.move.std:.4f}" if step.stochastic else "-"]
        common = recipe.rollout.shared_noise and i < plan.num_common
        kind = f"{_kind(plan, i)}, {_method(recipe, plan, i)}" + (", trained" if step.trained else "")
        table.add_row(str(i), kind, *(numbers if known else ()), f"1/{group}" if common else "1")
    if len(plan.steps) > _MOST_STEP_ROWS:
        table.add_row("...", f"{len(plan.steps) - _MOST_STEP_ROWS} more")
    if not known:
        table.title = "\nSteps (grid.shift: model, so the sigmas are known once the model is loaded)"
    return table


def _cost_table(recipe: Recipe, iteration: int) -> Table:
    quotes = [*_quotes(recipe, range(iteration, iteration + 1)), *_quotes(recipe, range(recipe.iterations))]
    columns = [quote for _, quote in quotes]
    title = f"\nModel evaluations per image: alone, or shared in a group of {recipe.rollout.group_size}"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column(no_wrap=True)
    for when in (f"iteration {iteration}", "whole run"):
        table.add_column(f"{when}\nalone", justify="right")
        table.add_column("\nshared", justify="right")
    table.add_row("rollout, forwards", *(f"{q.price.rollout_calls:.2f}" for q in columns))
    table.add_row("update, forward-backwards", *(f"{q.price.update_passes:.2f}" for q in columns))
    table.add_row(f"cost (1 and {columns[0].pass_cost:.0f} each)", *(f"{q.cost:.2f}" for q in columns))
    table.add_row("DanceGRPO's cost", *(f"{q.dancegrpo_cost:.2f}" for q in columns), style="dim")
    table.add_row("relative to DanceGRPO", *(f"{q.relative:.1%}" for q in columns), style="bold")
    return table


def _quotes(recipe: Recipe, iterations: range) -> list[tuple[str, Quote]]:
    return [
        ("every_image_alone", quote(recipe, iterations, shared=False)),
        ("shared_in_group", quote(recipe, iterations, shared=recipe.rollout.shared_noise)),
    ]


def _quote_as_json(quote: Quote) -> dict[str, float]:
    return {
        "rollout_forwards": quote.price.rollout_calls,
        "update_forward_backwards": quote.price.update_passes,
        "forward_backward_cost": quote.pass_cost,
        "cost": quote.cost,
        "dancegrpo_cost": quote.dancegrpo_cost,
        "relative_to_dancegrpo": quote.relative,
    }


def _kind(plan: Plan, i: int) -> str:
    return "SDE" if plan.steps[i].stochastic else "ODE"


def _method(recipe: Recipe, plan: Plan, i: int) -> str:
    if plan.steps[i].stochastic:
        return recipe.sde.type
    return "euler" if i < plan.window.start else recipe.suffix.solver
