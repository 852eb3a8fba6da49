import pytest

from bench_setups import timing, tiny_setup
from mixgrpo.bench import charts, levers, tables
from mixgrpo.bench.environment import environment
from mixgrpo.bench.progress import without_progress
from mixgrpo.bench.setup import BenchSetup, by_policy
from mixgrpo.bench.timing import IterationTiming
from mixgrpo.recipe.schema import Recipe


def test_a_variant_undoes_one_setting() -> None:
    full, *others = levers.variants(tiny_setup()).values()
    assert full.speed.compile
    for other in others:
        differing = [
            f"{section}.{key}"
            for section, values in other.model_dump().items()
            if isinstance(values, dict)
            for key, value in values.items()
            if value != full.model_dump()[section].get(key)
        ]
        assert len(differing) == 1, differing


def test_three_variants_need_a_model_of_their_own() -> None:
    first, *others = by_policy(levers.variants(tiny_setup()))
    assert len(first) == 7
    assert [[*group] for group in others] == [["not compiled"], ["VAE not channels-last"], ["optimizer not fused"]]


def test_ratios_are_relative_to_turbo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def time_iteration(setup: BenchSetup, recipe: Recipe, iteration: int) -> IterationTiming:
        return timing(rollout=1 if recipe.speed.share_computation else 3, update=1)

    monkeypatch.setattr(levers, "time_iteration", time_iteration)
    monkeypatch.setattr(levers, "_iteration_seconds", lambda setup, recipe, number: 4.0 + (recipe.window.size == 4))
    setup = tiny_setup()
    result = {**environment(setup), **levers.measure(setup, 1, without_progress)}
    rows = {row["variant"]: row for row in result["rows"]}
    assert [*rows] == [*levers.VARIANTS]
    assert {name: row["model_time_ratio"] for name, row in rows.items() if row["model_time_ratio"] != 1} == {
        "no shared computation": 2.0
    }
    assert rows["window of 4"]["iteration_ratio"] == 1.25
    tables.levers(result)
    assert "window of 4" in capsys.readouterr().out
    charts.levers(result)
