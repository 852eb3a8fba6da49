import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pipelines
from mixgrpo.bench import charts, cost, growth, learning, levers, one_by_one, suffix, tables
from mixgrpo.bench.environment import environment
from mixgrpo.bench.flops import flops_a_row, matrix_rate
from mixgrpo.bench.flux_dev_shape import flux_dev_recipe, transformer, vae
from mixgrpo.bench.learning import Look, arrival, interval
from mixgrpo.bench.peak import Peak
from mixgrpo.bench.progress_bar import silently, with_a_bar
from mixgrpo.bench.setup import CONTENDERS, Ground, chosen, ground_on, published_ratio
from mixgrpo.bench.suffix import rank_correlations
from mixgrpo.bench.timing import lap
from mixgrpo.models.load import adapt
from runs import small_recipe


@pytest.fixture
def ground() -> Ground:
    """The tiny random-weight FLUX on a grid of eight steps."""
    return Ground(
        small_recipe(rewards={"jpeg-compressibility": 1.0}, evaluation={"prompts": 3, "steps": 2}),
        torch.device("cpu"),
        load=lambda recipe, device: adapt(
            pipelines.flux(), recipe.model.height, recipe.model.width, guidance_scale=3.5, max_sequence_length=48
        ),
        encode=lambda model, prompts: model.encode(prompts),
        prompts=2,
        group_size=3,
        steps=8,
    )


@pytest.mark.parametrize("algorithm", CONTENDERS.values())
@pytest.mark.parametrize("share", [True, False])
def test_a_lap_makes_the_calls_that_its_plan_is_priced_at(ground: Ground, algorithm: str, share: bool) -> None:
    recipe = ground.recipe(algorithm, speed={"share": share})  # type: ignore[arg-type]
    one = lap(ground, recipe, iteration=1)
    plan = recipe.plan_at(1, ground.trainer(recipe).grid)
    price, images = plan.price(3, share), 6
    assert (one.rollout_rows, one.update_rows) == pytest.approx(
        (price.rollout_calls * images, price.update_passes * images)
    )
    assert min(one.rollout, one.decode, one.reward, one.update) > 0


def test_a_lap_leaves_the_weights_where_they_are(ground: Ground) -> None:
    recipe = ground.recipe("mixgrpo")
    parameters = ground.trainer(recipe).parameters
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    lap(ground, recipe, 0)
    assert all((parameter - before[name]).abs().max() < 1e-9 for name, parameter in parameters.items())


def test_every_position_of_a_sliding_window_comes_once(ground: Ground) -> None:
    recipe = ground.recipe("mixgrpo")
    assert [recipe.window_at(k).start for k in range(5)] == [0, 1, 2, 3, 0]
    assert len({ground.recipe("mixgrpo-flash-frozen").window_at(k) for k in range(5)}) == 1


def test_the_calls_predicted_are_the_calls_made(ground: Ground) -> None:
    recipe = ground.recipe("mixgrpo", rollout={"micro_batch": 4})
    rollout, update = growth.calls(recipe.plan_at(2, ground.trainer(recipe).grid), 2, 3, 4)
    one = lap(ground, recipe, 2)
    assert (sum(rollout), sum(update)) == (one.rollout_rows, one.update_rows)
    assert rollout == [2, 2, 2, *[4, 2] * 5]
    assert update == [2, *[4, 2] * 3]


@pytest.mark.parametrize("axis", growth.AXES)
def test_every_point_of_an_axis_has_a_plan(ground: Ground, axis: str) -> None:
    ground.steps = 25
    recipes = [growth.recipe_of(ground, changes) for _, changes in growth.AXES[axis]]
    assert len({recipe.model_dump_json() for recipe in recipes}) == len(recipes)
    assert all(len(recipe.window_at(0)) == recipe.window.size for recipe in recipes)


def test_a_prediction_adds_up_prices() -> None:
    price = growth.Price(call=2.0, row=0.5)
    recipe = small_recipe(window={"strategy": "frozen", "size": 1}, grid={"steps": 2, "shift": 1.0})
    plan = recipe.plan_at(0, recipe.own_grid())  # type: ignore[arg-type]
    # 3 prompts x 4 images, at most 5 rows: the fork for 3, then 5 + 5 + 2; the update for 3.
    assert growth.predict(recipe, plan, growth.Prices(price, price)) == 5 * 2.0 + 0.5 * (3 + 12 + 3)


def test_growth_lays_the_measured_beside_the_predicted(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "AXES", {"prompts": growth.AXES["prompts"][:2]})
    result = {**environment(ground), **growth.measure(ground, 1, silently)}
    for row in result["rows"]:
        assert row["predicted_to_measured"] == pytest.approx(row["predicted_seconds"] / row["seconds"])
    assert result["rows"][1]["predicted_seconds"] > result["rows"][0]["predicted_seconds"] > 0
    tables.growth(result)
    assert "prompts" in capsys.readouterr().out
    charts.growth(result).savefig(tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_all_that_is_measured_can_be_shown(ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = {**environment(ground), **cost.measure(ground, 1, silently)}
    assert result["contenders"]["DanceGRPO"]["model_time_ratio"] == {"median": 1.0, "least": 1.0, "most": 1.0}
    assert result["contenders"]["DanceGRPO"]["published_ratio"] == 1.0
    assert result["contenders"]["turbo"]["calls_per_image"]["update"] == pytest.approx(1 / 3)
    tables.cost(result)
    assert "turbo" in capsys.readouterr().out
    charts.cost(result).savefig(tmp_path / "cost.png")
    assert (tmp_path / "cost.png").stat().st_size > 1000
    assert json.loads(json.dumps(result)) == result


def test_one_image_at_a_time_is_measured_beside(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    result = one_by_one.measure(ground, 1, silently)
    for row in result["rows"]:
        assert row["times_faster"] == pytest.approx(row["one_by_one_seconds"] / row["seconds"])
    tables.one_by_one({**environment(ground), **result})
    assert "DanceGRPO" in capsys.readouterr().out


def test_a_full_suffix_keeps_its_own_order(ground: Ground) -> None:
    rows = suffix.measure(ground, 1, silently)["rows"]
    assert {row["rank_correlation"] for row in rows if row["compress_ratio"] == 1} == {1.0}
    assert all(-1 <= row["rank_correlation"] <= 1 for row in rows)
    first = [row["suffix_calls"] for row in rows if row["position"] == 0 and row["solver"] == "euler"]
    assert first == [7, 3, 2, 1]


def test_rank_correlations() -> None:
    full = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    other = torch.tensor([[2.0, 4.0, 9.0], [3.0, 2.0, 1.0], [7.0, 7.0, 7.0], [1.0, 2.0, 3.0]])
    assert rank_correlations(full, other) == pytest.approx([1, -1, 0])


def test_a_few_contenders_are_enough() -> None:
    assert chosen([]) == CONTENDERS
    assert chosen(["turbo"]) == {"DanceGRPO": "dancegrpo", "turbo": "turbo"}
    with pytest.raises(ValueError, match="--only flowgrpo-fast: must be one of dancegrpo, flowgrpo, mixgrpo"):
        chosen(["flowgrpo-fast"])


def test_where_no_bar_can_be_drawn_lines_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert [*with_a_bar(range(40))] == [*range(40)]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 19
    assert lines[0].startswith("measured 2 of 40, ")


def test_undoing_a_lever_leaves_the_others(ground: Ground) -> None:
    recipes = levers.recipes(ground)
    assert recipes["nothing shared"].speed.compile
    assert not recipes["blocks not compiled"].speed.compile


def test_every_contender_learns_from_the_same_start(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.seconds = 0.1
    result = learning.measure(ground, 2, silently)
    assert result["reward"] == "jpeg-compressibility"
    for row in result["contenders"].values():
        assert len({curve[0]["reward"] for curve in row["curves"]}) == 1
        assert all(curve[-1]["seconds"] >= 0.1 and curve[-1]["iterations"] >= 1 for curve in row["curves"])
    starts = [learning._train(ground, ground.learner(algorithm, 5), None)[0] for algorithm in ("mixgrpo", "turbo")]
    assert starts[0] == starts[1] == Look(**result["contenders"]["DanceGRPO"]["curves"][0][0])
    tables.learning({**environment(ground), **result})
    assert "turbo" in capsys.readouterr().out
    charts.learning(result)


def test_who_learns_by_noise_needs_a_rate_for_it(ground: Ground) -> None:
    by_picture = replace(ground, base=ground.base.model_copy(update={"credit": "picture"}))
    with pytest.raises(ValueError, match="--learning-rate is missing"):
        by_picture.learner("turbo", 0)
    assert replace(by_picture, learning_rate=1e-4).learner("turbo", 0).update.learning_rate == 1e-4


def test_flops_are_those_of_the_linear_layers_and_more(ground: Ground) -> None:
    """Every weight matrix is multiplied by at least one token, none by more than all of them."""
    trainer = ground.trainer(ground.recipe("mixgrpo"))
    row = flops_a_row(ground, trainer)
    weights = sum(p.numel() for p in trainer.model.transformer.parameters() if p.dim() == 2)
    assert 2 * weights < row < 2 * weights * (48 + 48) * 2
    assert matrix_rate(torch.device("cpu"), torch.float32) > 0


def test_when_a_curve_arrives() -> None:
    curve = [Look(0, 0, 0.4), Look(10, 5, 0.5), Look(20, 9, 0.4), Look(30, 14, 0.8)]
    assert arrival(curve, 0.45) == pytest.approx(5)
    assert arrival(curve, 0.6) == pytest.approx(25)
    assert arrival(curve, 0.3) == 0
    assert arrival(curve, 0.9) is None


def test_an_interval_over_seeds() -> None:
    assert interval([1.0, 2.0, 3.0]) == {"mean": 2.0, "half_width": pytest.approx(4.303 / 3**0.5, abs=1e-3)}
    assert interval([1.0]) == {"mean": 1.0, "half_width": None}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
def test_the_peak_is_what_was_taken_since() -> None:
    size = 200 * 2**20
    small = [torch.ones(2**16, dtype=torch.uint8) for _ in range(size // 2**16)]  # from the heap, freed into it
    del small
    peak = Peak(torch.device("cpu"))
    after = torch.ones(size, dtype=torch.uint8)
    taken = peak.bytes()
    assert taken is not None
    assert 0.9 * size < taken < 1.5 * size
    assert after.sum() == size


def test_flux_devs_shape_is_flux_devs() -> None:
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in transformer(torch.bfloat16).parameters())
        decoder = sum(parameter.numel() for parameter in vae().decoder.parameters())
    assert size == 11_901_408_320
    assert decoder == 49_545_475
    assert (flux_dev_recipe().tune, flux_dev_recipe().model.height) == ("lora", 720)


def test_the_precision_is_the_recipes_or_the_one_asked_for() -> None:
    cpu = torch.device("cpu")
    assert [ground_on("scenes", cpu, dtype).base.model.dtype for dtype in (None, "bfloat16")] == ["float32", "bfloat16"]
    assert ground_on("flux-dev-shape", cpu, "float16").base.model.dtype == "float16"


def test_published_ratios() -> None:
    assert published_ratio("mixgrpo-flash-frozen") == pytest.approx(0.286, abs=1e-3)
    assert published_ratio("turbo") is None


def test_two_kinds_at_once_are_refused() -> None:
    mixgrpo = Path(sys.executable).with_name("mixgrpo")
    result = subprocess.run([mixgrpo, "bench", "--levers", "--growth"], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (1, "--levers, --growth: give one of them")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--levers", "--only", "turbo"], "--only: measuring levers does not take it, only --prompts"),
        (["--dtype", "float8"], "model.dtype = 'float8': must be 'float32', 'bfloat16' or 'float16'"),
        (["--minutes", "5"], "--minutes: measuring cost does not take it, only --prompts, --only, --compile"),
    ],
)
def test_what_would_do_nothing_is_refused(arguments: list[str], why: str) -> None:
    mixgrpo = Path(sys.executable).with_name("mixgrpo")
    result = subprocess.run([mixgrpo, "bench", *arguments], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (1, why)
