from pathlib import Path

import pytest
import torch

from bench_setups import tiny_setup
from mixgrpo.bench import charts, equal_terms, tables
from mixgrpo.bench.algorithms import selected
from mixgrpo.bench.environment import environment
from mixgrpo.bench.equal_terms import EvalPoint, interval, time_to
from mixgrpo.bench.progress import without_progress
from mixgrpo.bench.setup import SHIFT
from mixgrpo.data.prompts import Prompt
from runs import small_recipe


@pytest.mark.long
def test_every_algorithm_learns_from_the_same_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(equal_terms, "_EVALUATIONS", 2)
    file = tmp_path / "own.yaml"
    file.write_text(small_recipe().model_dump_json(), encoding="utf-8")
    setup = tiny_setup(seconds=0.05, algorithms=selected(["turbo"]), recipes=[str(file)])
    result = {**environment(setup), **equal_terms.measure(setup, 1, without_progress)}
    assert result["reward"] == "jpeg-compressibility"
    rows = result["algorithms"]
    assert [*rows] == ["DanceGRPO", "turbo", str(file)]
    curves = [curve for row in rows.values() for curve in row["curves"]]
    assert len(curves) == 3
    assert all(len(curve) == 3 for curve in curves)
    assert len({curve[0]["reward"] for curve in curves}) == 1
    assert all(curve[-1]["seconds"] >= 0.05 and curve[-1]["iterations"] >= 1 for curve in curves)
    assert len({curve[-1]["reward"] for curve in curves}) > 1  # they did learn
    tables.equal_terms(result)
    assert "turbo" in capsys.readouterr().out
    charts.equal_terms(result)


def test_gains_are_per_prompt() -> None:
    setup = tiny_setup(seconds=0.01)
    recipe = equal_terms.recipes_of(setup, seed=0)["turbo"]
    prompts = [Prompt(text, {"kind": text}) for text in ("one", "two")]
    before = torch.tensor([1.0, 2.0])
    training = equal_terms.train(setup, recipe, prompts, "jpeg-compressibility", before)
    assert training.curve[0] == EvalPoint(0.0, 0, 1.5)
    assert training.gains.mean().item() == pytest.approx(training.curve[-1].reward - 1.5, abs=1e-5)
    assert len(set(training.gains.tolist())) == 2


def test_gains_by_kind_average_the_seeds() -> None:
    prompts = [Prompt("", {"kind": kind}) for kind in ("text", "text", "counting")]
    runs = [
        equal_terms.Training([EvalPoint(0, 0, 0.0), EvalPoint(9, 3, end)], torch.tensor(gains))
        for end, gains in ((0.5, [0.2, 0.4, 0.9]), (0.7, [0.4, 0.6, 1.1]))
    ]
    summary = equal_terms._summary(runs, prompts, target=0.35, seconds=10)
    means = {kind: gain["mean"] for kind, gain in summary["gain_by_kind"].items()}
    assert means == pytest.approx({"text": 0.4, "counting": 1.0, "overall": 0.6})
    assert summary["seconds_to_target"] == pytest.approx([6.3, 4.5])
    assert summary["time_fraction"]["mean"] == pytest.approx(0.54)


def test_recipes_keep_their_grid_and_objective_and_share_the_rest() -> None:
    setup = tiny_setup(recipes=["scenes"], learning_rate=1e-4)
    recipes = equal_terms.recipes_of(setup, seed=7)
    assert (recipes["turbo"].grid.steps, recipes["turbo"].grid.shift) == (8, SHIFT)
    assert recipes["scenes"].grid.steps == 12
    assert recipes["scenes"].objective.type == "image-credit"
    assert recipes["scenes"].update.learning_rate == 1e-3
    for recipe in recipes.values():
        assert (recipe.model, recipe.rewards, recipe.seed) == (setup.base.model, setup.base.rewards, 7)
        assert (recipe.update.schedule, recipe.update.warmup_iterations, recipe.update.ema_decay) == (
            "constant",
            0,
            None,
        )
    setup.own_grid = True
    assert equal_terms.recipes_of(setup, seed=7)["turbo"].grid == setup.base.grid


def test_another_objective_needs_another_learning_rate() -> None:
    setup = tiny_setup()
    setup.base = setup.base.model_copy(
        update={"objective": setup.base.objective.model_copy(update={"type": "image-credit"})}
    )
    with pytest.raises(ValueError, match="--learning-rate is missing"):
        equal_terms.recipes_of(setup, 0)
    setup.learning_rate = 1e-4
    turbo = equal_terms.recipes_of(setup, 0)["turbo"]
    assert (turbo.objective.type, turbo.update.learning_rate) == ("clipped-ratio", 1e-4)


def test_when_a_curve_reaches_a_target() -> None:
    curve = [EvalPoint(0, 0, 0.4), EvalPoint(10, 5, 0.5), EvalPoint(20, 9, 0.4), EvalPoint(30, 14, 0.8)]
    assert time_to(curve, 0.45) == pytest.approx(5)
    assert time_to(curve, 0.6) == pytest.approx(25)
    assert time_to(curve, 0.3) == 0
    assert time_to(curve, 0.9) is None


def test_an_interval_over_seeds() -> None:
    assert interval([1.0, 2.0, 3.0]) == {"mean": 2.0, "half_width": pytest.approx(4.303 / 3**0.5, abs=1e-3)}
    assert interval([1.0]) == {"mean": 1.0, "half_width": None}
