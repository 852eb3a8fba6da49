import time

import pytest

from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.plan_view import plan_as_json
from mixgrpo.recipe.pricing import counting_grid, pass_cost, quote


@pytest.mark.parametrize(
    ("overrides", "forwards"),
    [
        ([], 3),
        (["objective.kl_weight=0.04"], 4),
        (["update.gradient_checkpointing=true"], 4),
        (["tune=lora"], 2),
        (["tune=lora", "objective.kl_weight=0.04", "update.gradient_checkpointing=true"], 4),
    ],
)
def test_a_trained_state_costs_what_it_computes(overrides: list[str], forwards: int) -> None:
    """Forward and backward, the forward that checkpointing repeats, and the reference's."""
    recipe = load_recipe("flux-dev-hpdv2", overrides)
    assert pass_cost(recipe) == forwards
    assert quote(recipe, range(1), shared=False).cost == 25 + 4 * forwards


@pytest.mark.parametrize("name", ["scenes", "flux-dev-hpdv2-flash", "flux-dev-dancegrpo", "sd35-medium-geneval"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_price_is_that_of_the_plans(name: str, shared: bool) -> None:
    recipe = load_recipe(name)
    grid, group = counting_grid(recipe), recipe.rollout.group_size
    plans = [recipe.plan_at(k, grid).price(group, shared, parts=recipe.parts_of_groups) for k in range(20)]
    price = quote(recipe, range(20), shared).price
    assert price.rollout_calls == pytest.approx(sum(plan.rollout_calls for plan in plans) / 20)
    assert price.update_passes == pytest.approx(sum(plan.update_passes for plan in plans) / 20)


@pytest.mark.parametrize(
    "overrides",
    [
        ["iterations=10000000"],
        ["iterations=10000000", "window.strategy=random"],
        ["iterations=10000000", "grid.steps=10000", "window.size=null", "window.range=null", "window.stride=3"],
    ],
)
def test_a_long_run_is_planned_in_a_moment(overrides: list[str]) -> None:
    start = time.perf_counter()
    plan = plan_as_json(load_recipe("scenes", overrides), 0)
    assert time.perf_counter() - start < 5
    assert plan["windows"][-1]["last_iteration"] == plan["windows_end_at"] - 1
    few, many = (
        plan_as_json(load_recipe("scenes", [f"iterations={iterations}", *overrides[1:]]), 0)["cost_per_image"]
        for iterations in (12, 10_000_000)
    )
    assert many["whole_run"]["shared_in_group"]["cost"] == pytest.approx(
        few["whole_run"]["shared_in_group"]["cost"], rel=0.2
    )
