import pytest
import torch

from bench_setups import tiny_setup
from mixgrpo.bench import charts, suffix, tables
from mixgrpo.bench.environment import environment
from mixgrpo.bench.progress import without_progress
from mixgrpo.bench.suffix import FULL, Suffix, group_rewards, rank_correlations


def test_the_same_suffix_draws_the_same_images() -> None:
    setup = tiny_setup()
    first, again = (group_rewards(setup, 2, FULL, iteration=1) for _ in range(2))
    assert first.shape == (2, 3)
    assert torch.equal(first, again)
    assert not torch.equal(first, group_rewards(setup, 2, Suffix("euler", 0.4), iteration=1))
    assert not torch.equal(first, group_rewards(setup, 2, FULL, iteration=2))


def test_rank_correlations() -> None:
    full = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    short = torch.tensor([[2.0, 4.0, 9.0], [3.0, 2.0, 1.0], [7.0, 7.0, 7.0], [1.0, 2.0, 3.0]])
    assert rank_correlations(full, short) == pytest.approx([1, -1, 0])


def test_every_suffix_is_measured_at_every_position(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suffix, "POSITIONS", (0, 4, 20))
    monkeypatch.setattr(suffix, "SHORT", [Suffix("euler", ratio) for ratio in suffix.RATIOS])
    setup = tiny_setup(prompts=1)
    result = {**environment(setup), **suffix.measure(setup, 1, without_progress)}
    rows = result["rows"]
    assert [row["position"] for row in rows] == [0] * 4 + [4] * 4  # of eight steps
    calls = [row["suffix_calls"] for row in rows if row["position"] == 0]
    assert calls == [7, 3, 2, 1]
    assert all(-1 <= row["rank_correlation"] <= 1 for row in rows)
    tables.suffix(result)
    assert "euler" in capsys.readouterr().out
    charts.suffix(result)
