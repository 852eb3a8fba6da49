"""A run's folder as the page has it."""

from pathlib import Path

import pytest

from mixgrpo.report.page import page, write_report
from mixgrpo.report.reading import differing, failures, flat, movers, read_run
from report_runs import made


def test_what_happened_is_read(tmp_path: Path) -> None:
    run = read_run(made(tmp_path / "a", 40))
    assert run["x"]["images"][:2] == [12, 24]
    assert run["x"]["seconds"][-1] == 120.0
    assert run["curves"]["seconds: reward"][0] == 0.5
    assert run["curves"]["clip_fraction"][0] == 0.12346
    assert run["window"][:4] == [[0, 0], [1, 1], [2, 2], [0, 0]]
    assert [e["iteration"] for e in run["evaluations"]] == [0, 40]
    assert run["failures"] == ["brightness: 2 scores asked for again, 1 failed. the server hung up"]
    found = {(finding["iteration"], finding["name"]) for finding in run["findings"]}
    assert (10, "failed-scores") in found
    assert (40, "failed-scores") not in found
    assert {name for _, name in found} >= {"falling"}


def test_scores_that_came_at_the_second_try_are_told() -> None:
    lines = [{"failed_scores": {}, "retried_scores": {"a": 1}, "score_errors": {}}]
    assert failures(lines, ["a", "b"], damaged=0) == ["a: 1 scores asked for again, 0 failed."]


def test_recipes_are_compared_key_by_key(tmp_path: Path) -> None:
    recipes = [dict(flat({"a": 1, "b": {"c": [1, 2]}})), dict(flat({"a": 1, "b": {"c": [1]}, "d": None}))]
    assert differing(recipes) == ["b.c", "d"]


def test_movers_are_the_prompts_that_changed_most() -> None:
    scores = [(f"prompt {i}", 0.0, change) for i, change in enumerate([0.1, 0.0, -0.5, 0.9, None, -0.1, 0.3])]
    per_prompt = [{"prompt": text, "base": {"a": low, "b": 9.0}, "tuned": {"a": high}} for text, low, high in scores]
    assert [mover["prompt"][-1] for mover in movers(per_prompt, {"a": 2.0})] == ["3", "6", "0", "5", "2"]
    assert movers(per_prompt, {"a": 2.0})[0] == {"prompt": "prompt 3", "before": 0.0, "after": 1.8}
    many = [{"prompt": str(i), "base": {"a": 0.0}, "tuned": {"a": float(i - 20)}} for i in range(41)]
    assert [mover["prompt"] for mover in movers(many, {"a": 1.0})] == [
        "40",
        "39",
        "38",
        "37",
        "36",
        "4",
        "3",
        "2",
        "1",
        "0",
    ]


def test_a_long_run_makes_a_small_page(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report([made(tmp_path / "a"), made(tmp_path / "b", seed=1)], out)
    assert out.stat().st_size < 1_000_000
    assert "https://" not in out.read_text(encoding="utf-8").replace("https://github.com/leeoniya/uPlot", "")


def test_nothing_of_a_run_ends_the_script(tmp_path: Path) -> None:
    text = page([made(tmp_path / "a", 10, description="</script><script>alert(1)</script>")])
    assert "</script><script>alert" not in text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        page([tmp_path])
