from pathlib import Path

import pytest

from bench_setups import timing, tiny_setup
from mixgrpo.bench import charts, growth, tables
from mixgrpo.bench.environment import environment
from mixgrpo.bench.growth import CallCost, CallCosts
from mixgrpo.bench.progress import without_progress
from mixgrpo.bench.setup import BenchSetup
from mixgrpo.bench.timing import IterationTiming, time_iteration
from mixgrpo.recipe.schema import Recipe
from mixgrpo.sampling.schedule import shifted_linspace
from runs import small_recipe


def test_the_predicted_calls_are_those_that_are_made() -> None:
    setup = tiny_setup()
    recipe = setup.recipe("mixgrpo", rollout={"micro_batch": 4})
    rollout, update = growth.rows_per_call(setup.trainer(recipe).plan_at(2), 2, 3, 4)
    timing = time_iteration(setup, recipe, 2)
    assert (sum(rollout), sum(update)) == (timing.rollout_rows, timing.update_rows)
    assert rollout == [2, 2, 2, *[4, 2] * 5]
    assert update == [2, *[4, 2] * 3]


@pytest.mark.parametrize("axis", growth.AXES)
def test_every_point_of_an_axis_has_a_plan(axis: str) -> None:
    setup = tiny_setup(steps=25)
    recipes = [growth.recipe_of(setup, changes) for _, changes in growth.AXES[axis]]
    assert len({recipe.model_dump_json() for recipe in recipes}) == len(recipes)
    assert all(len(recipe.window_at(0)) == recipe.window.size for recipe in recipes)


@pytest.mark.parametrize(
    ("prompts", "seconds"),
    [
        # One prompt of 4 images, at most 5 rows: the fork with 1 row, then 4 rows; the update of the fork.
        (1, 2 * 2.0 + 0.5 * (1 + 4) + 1 * 3.0 + 1.0 * 1),
        # Three prompts of 4 images: the fork with 3 rows, then 5 + 5 + 2 rows; the update of the fork.
        (3, 4 * 2.0 + 0.5 * (3 + 12) + 1 * 3.0 + 1.0 * 3),
    ],
)
def test_a_prediction_adds_up_the_calls(prompts: int, seconds: float) -> None:
    recipe = small_recipe(
        window={"strategy": "frozen", "size": 1},
        grid={"steps": 2, "shift": 1.0},
        rollout={"prompts": prompts, "group_size": 4, "micro_batch": 5},
    )
    plan = recipe.plan_at(0, shifted_linspace(2, 1.0))
    assert growth.predict(recipe, plan, CallCosts(CallCost(2.0, 0.5), CallCost(3.0, 1.0))) == seconds


def test_call_costs_are_a_line_through_two_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([8.0, 36.0, 10.0, 66.0])  # of 4 and 32 rows, forward and forward-backward
    monkeypatch.setattr(growth, "median_seconds", lambda run, device: next(seconds))
    setup = tiny_setup()
    costs = growth.measure_calls(setup, setup.recipe("mixgrpo"))
    assert costs == CallCosts(CallCost(4.0, 1.0), CallCost(2.0, 2.0))


def test_predictions_stand_beside_measurements(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_iteration(setup: BenchSetup, recipe: Recipe, iteration: int, memory: bool = False) -> IterationTiming:
        return timing(rollout=recipe.rollout.prompts, update=1)

    monkeypatch.setattr(growth, "AXES", {"prompts": growth.AXES["prompts"][:2]})
    monkeypatch.setattr(growth, "time_iteration", time_iteration)
    monkeypatch.setattr(growth, "measure_calls", lambda setup, recipe: CallCosts(CallCost(1, 0), CallCost(1, 0)))
    setup = tiny_setup()
    result = {**environment(setup), **growth.measure(setup, 1, without_progress)}
    # Eight steps and a window of four: 8 + 4 calls, which all images fit into.
    assert [(row["value"], row["seconds"], row["predicted_seconds"]) for row in result["rows"]] == [
        (2, 3, 12),
        (4, 5, 12),
    ]
    tables.growth(result)
    assert "4.00" in capsys.readouterr().out
    for row in result["rows"]:
        row["peak_mib"] = 1.0
    charts.growth(result).savefig(tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000
