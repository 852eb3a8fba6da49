import pytest

from bench_setups import timing, tiny_setup
from mixgrpo.bench import charts, one_by_one, tables
from mixgrpo.bench.algorithms import selected
from mixgrpo.bench.environment import environment
from mixgrpo.bench.progress import without_progress
from mixgrpo.bench.setup import BenchSetup
from mixgrpo.bench.timing import IterationTiming
from mixgrpo.recipe.schema import Recipe


def test_each_algorithm_is_compared_with_single_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def time_iteration(setup: BenchSetup, recipe: Recipe, iteration: int) -> IterationTiming:
        if recipe.rollout.micro_batch == 1 and not recipe.speed.share_computation:
            return timing(rollout=6, update=2)
        return timing(rollout=1, update=1, decode=5)

    monkeypatch.setattr(one_by_one, "time_iteration", time_iteration)
    setup = tiny_setup(algorithms=selected(["turbo"]))
    result = {**environment(setup), **one_by_one.measure(setup, 1, without_progress)}
    assert result["rows"] == [
        {"algorithm": name, "seconds": 2, "one_by_one_seconds": 8, "speedup": 4} for name in ("DanceGRPO", "turbo")
    ]
    tables.one_by_one(result)
    assert "DanceGRPO" in capsys.readouterr().out
    charts.one_by_one(result)
