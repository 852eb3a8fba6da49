import json
from pathlib import Path

import pytest

from bench_setups import timing, tiny_setup
from mixgrpo.bench import charts, cost, tables
from mixgrpo.bench.algorithms import selected
from mixgrpo.bench.environment import environment
from mixgrpo.bench.progress import without_progress


def test_time_ratios_are_of_sums_over_a_repetition() -> None:
    # Two repetitions of two positions: (1 + 2) / (2 + 4) and (3 + 3) / (4 + 4).
    timings = [timing(0.5, 0.5), timing(1, 1), timing(3), timing(3)]
    baseline = [timing(2), timing(4), timing(4), timing(4)]
    ratio = cost.time_ratio(timings, baseline, 2, lambda t: t.model_seconds)
    assert ratio == pytest.approx({"median": 0.625, "min": 0.5, "max": 0.75})


def test_model_time_leaves_decoding_out() -> None:
    assert timing(1, update=2, decode=4).model_seconds == 3
    assert timing(1, update=2, decode=4).seconds == 7


def test_a_measurement_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mixgrpo.bench.flops._MATRIX_SIZE", {"cpu": 64})
    setup = tiny_setup(prompts=1, steps=6, algorithms=selected(["turbo"]))
    result = {**environment(setup), **cost.measure(setup, 1, without_progress)}
    rows = result["algorithms"]
    assert {name: len(row["timings"]) for name, row in rows.items()} == {"DanceGRPO": 2, "turbo": 2}
    # DanceGRPO trains 3 of 5 steps, the first of which a group of 3 shares; turbo trains one, which it shares.
    assert 2 + 1 / 3 <= rows["DanceGRPO"]["calls_per_image"]["update"] <= 3
    assert rows["turbo"]["calls_per_image"]["update"] == pytest.approx(1 / 3)
    assert rows["turbo"]["published_ratio"] is None
    tables.cost(result)
    assert "turbo" in capsys.readouterr().out
    charts.cost(result).savefig(tmp_path / "cost.png")
    assert (tmp_path / "cost.png").stat().st_size > 1000
    assert json.loads(json.dumps(result)) == result
