import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mixgrpo.bench import charts, learning, tables
from mixgrpo.bench.command import bench
from mixgrpo.bench.learning import Contender, Effort, Journal, chosen, contenders, contest_jobs, measure, summary
from mixgrpo.bench.progress import without_progress
from mixgrpo.data.prompts import Prompt
from mixgrpo.data.sources import evaluation_prompts

SMALL = "scenes grid.steps=4 window.range=[0,3] rollout.prompts=2 rollout.group_size=2 evaluation.steps=2"
ENTRIES = {
    "ours": Contender(SMALL, ("update.learning_rate=1e-3", "update.learning_rate=2e-3"), ours=True),
    "rvm": Contender(f"{SMALL} objective.type=rvm", ("update.learning_rate=1e-3", "update.learning_rate=2e-3")),
}
EFFORT = Effort(seconds=0.5, tuning_seconds=0.3, seeds=1)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "_DEVELOPMENT_PROMPTS", 4)
    monkeypatch.setattr(learning, "_EVALUATIONS", 2)
    monkeypatch.setattr(learning, "evaluation_prompts", lambda source: evaluation_prompts(source)[:4])


def point(key: str, iterations: int, of: int, overall: float, seconds: float = 0.0) -> dict[str, Any]:
    return {
        "key": key,
        "changes": key,
        "iterations": iterations,
        "of": of,
        "seconds": seconds,
        "images": 10 * iterations,
        "accuracy": {"overall": overall},
    }


@pytest.mark.long
def test_each_is_tuned_then_compared_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    entries = {name: replace(entry, tried=entry.tried[:1]) for name, entry in ENTRIES.items()}
    result = measure(entries, EFFORT, CPU, journal, without_progress)
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    keys = [*dict.fromkeys(line["key"] for line in lines)]
    assert keys == ["start", "tuning/ours/0", "tuning/rvm/0", "contest/ours/0", "contest/rvm/0"]
    row = result["contenders"]["rvm"]
    assert all(2 <= len(curve) <= 3 for curve in row["curves"])
    assert row["curves"][0][0] == {"seconds": 0.0, "iterations": 0, "reward": result["start"]}
    assert row["curves"][0][-1]["seconds"] > 0
    assert row["images"] == [4 * row["iterations"][0]]
    tables.learning(result)
    assert "ours (ours)" in capsys.readouterr().out
    charts.learning(result)


def test_what_is_in_the_journal_is_not_done_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append([point(f"tuning/ours/{number}", 3, 3, 0.5) for number in (0, 1)])
    journal.append([point("start", 0, 0, 0.4), point("contest/ours/0", 1, 2, 0.45)])
    measure({"ours": ENTRIES["ours"]}, EFFORT, CPU, journal, without_progress)
    assert len(journal.points("tuning/ours/0")) == 1
    assert len(journal.points("contest/ours/0")) > 1, "one that had not come to its end is done again"


def test_nobody_else_does_what_is_being_done(tmp_path: Path) -> None:
    one, other = Journal(tmp_path / "j.jsonl"), Journal(tmp_path / "j.jsonl")
    with one.claimed("tuning/a/0") as first, other.claimed("tuning/a/0") as second, other.claimed("b") as third:
        assert (first, second, third) == (True, False, True)
    with other.claimed("tuning/a/0") as again:
        assert again


def test_the_best_variant_on_development_prompts_is_chosen(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append([point("tuning/ours/0", 9, 9, 0.5), point("tuning/ours/1", 9, 9, 0.6)])
    journal.append([point("tuning/rvm/0", 9, 9, 0.6), point("tuning/rvm/1", 9, 9, 0.5)])
    assert chosen("ours", ENTRIES["ours"], journal) == 1
    jobs = contest_jobs(ENTRIES, Effort(seeds=2), journal)
    assert [job.key for job in jobs] == ["contest/ours/0", "contest/rvm/0", "contest/ours/1", "contest/rvm/1"]
    assert jobs[0].changes.endswith("2e-3")
    assert jobs[1].changes.endswith("1e-3")
    assert all(job.held_out for job in jobs)


def test_gains_and_times_by_hand(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append([point("start", 0, 0, 0.40)])
    for seed, end in ((0, 0.52), (1, 0.48)):
        key = f"contest/ours/{seed}"
        journal.append([point(key, 5, 10, 0.44, 50.0), point(key, 10, 10, end, 100.0)])
    row = summary({"ours": ENTRIES["ours"]}, Effort(100.0, seeds=2), journal)["contenders"]["ours"]
    assert row["gain"]["mean"] == pytest.approx(0.10)
    assert row["seconds_to"]["0.05"] == pytest.approx([50 + 50 * 0.01 / 0.08, 50 + 50 * 0.01 / 0.04])
    assert row["seconds_to"]["0.10"] == [pytest.approx(50 + 50 * 0.06 / 0.08), None]


def test_the_shipped_contenders_have_the_same_budget_and_valid_recipes() -> None:
    shipped = contenders()
    assert {"image-credit", "dancegrpo", "flowgrpo", "mixgrpo", "rvm", "nft", "awm", "v-grpo"} <= shipped.keys()
    assert {len(entry.tried) for entry in shipped.values()} == {4}


def test_more_variants_for_one_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "contenders.json"
    file.write_text(
        json.dumps({"a": {"changes": "scenes", "tried": ["seed=1"]}, "b": {"changes": "scenes", "tried": []}})
    )
    with pytest.raises(ValueError, match="all must have as many variants"):
        contenders(file)


def test_an_unknown_contender_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--only rwm: did you mean rvm"):
        bench("learning", {"only": ["rwm"], "journal": tmp_path / "j.jsonl"})


def test_development_prompts_are_no_held_out_ones() -> None:
    def texts(prompts: list[Prompt]) -> set[str]:
        return {prompt.text for prompt in prompts}

    assert not texts(learning.development_prompts()) & texts(evaluation_prompts("scenes"))
