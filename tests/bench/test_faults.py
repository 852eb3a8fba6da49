import pytest

from mixgrpo.bench import faults, tables
from mixgrpo.bench.faults import FAULTS, passing, permanent
from mixgrpo.bench.progress import without_progress


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "GRAY_LEVELS", range(5, 245, 30))  # 8 images


@pytest.mark.parametrize("kind", ["remote", "judge"])
def test_a_passing_fault_costs_no_score(kind: str) -> None:
    result = passing(kind, FAULTS["hang-up"])
    assert (result["correct"], result["missing"], result["wrong"]) == (8, 0, 0)
    assert result["requests"] > 8


def test_a_permanent_fault_leaves_scores_missing_and_says_why() -> None:
    result = permanent("remote", [None], correct=0)
    assert (result["correct"], result["missing"], result["wrong"]) == (0, 8, 0)
    assert "mixgrpo serve-reward" in result["error"]


def test_one_correct_server_is_enough() -> None:
    result = permanent("judge", [None, FAULTS["status 500"]], correct=1)
    assert (result["correct"], result["missing"], result["wrong"]) == (8, 0, 0)


def test_every_fault_is_measured_with_every_client(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"correct": 1, "missing": 0, "wrong": 0, "requests": 1, "seconds": 0.0, "error": None}
    monkeypatch.setattr(faults, "passing", lambda kind, fault: counts)
    monkeypatch.setattr(faults, "permanent", lambda kind, bad, correct: {**counts, "error": f"{kind} is down"})
    result = faults.measure(without_progress)
    assert len(result["rows"]) == 2 * (len(FAULTS) + 2) + 2
    tables.faults(result)
    assert "judge is down" in capsys.readouterr().out
