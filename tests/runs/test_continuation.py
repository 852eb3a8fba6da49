import shutil
from pathlib import Path

import pytest
import torch

from mixgrpo.runs.continuation import CannotContinue, check_changes, find_checkpoint, other_processes
from mixgrpo.runs.folder import RunFolder
from mixgrpo.training.snapshot import Snapshot

TRAINED = {
    "iterations": 10,
    "seed": 0,
    "update": {"learning_rate": 1e-3, "betas": [0.9, 0.999]},
    "evaluation": {"every": 0},
    "rewards": {"scenes": {"weight": 1.0}},
}


def test_what_may_change_is_listed_when_it_does() -> None:
    now = {**TRAINED, "iterations": 20, "evaluation": {"every": 5}, "update": {**TRAINED["update"], "learning_rate": 1}}  # type: ignore[dict-item]
    assert check_changes(TRAINED, TRAINED) == []
    assert check_changes(TRAINED, now) == ["iterations", "update.learning_rate", "evaluation.every"]


def test_another_number_of_processes_is_said() -> None:
    assert other_processes(2, 2) == ""
    assert other_processes(2, 1) == ", with 1 process instead of 2"
    assert other_processes(1, 4) == ", with 4 processes instead of 1"


SHARD = "shard-00001-model-00001-of-00001.safetensors"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"update": {"learning_rate": 1e-3, "betas": [0.5, 0.9]}}, "update.betas"),
        ({"rewards": {"scenes": {"weight": 2.0}}}, "rewards.scenes.weight"),
        ({"rewards": {"scenes": {"weight": 1.0}, "ocr": {}}}, "rewards.ocr"),
    ],
)
def test_what_must_not_change_is_refused_by_name(change: dict[str, object], key: str) -> None:
    with pytest.raises(CannotContinue, match=f"^{key}: cannot change in a run that has begun"):
        check_changes(TRAINED, {**TRAINED, **change})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    for iteration in (0, 5, 10):
        run.checkpoints.save(Snapshot(iteration, {"weight/a": torch.zeros(3)}), {}, keep=9)
    for k in range(10):
        run.append({"iteration": k})
    return run


def test_the_newest_complete_checkpoint_is_taken_and_the_damage_said(folder: RunFolder) -> None:
    assert find_checkpoint(folder) == (10, [])
    (folder.checkpoints.path / "000010" / SHARD).write_bytes(b"")
    with folder.metrics.open("a") as file:
        file.write('{"iterat')
    iteration, said = find_checkpoint(folder)
    assert iteration == 5
    assert f"000010/{SHARD} is damaged" in said[0]
    assert "1 damaged lines are left out" in said[1]


def test_nothing_begins_at_0_where_something_was_trained(folder: RunFolder) -> None:
    for iteration in (0, 5, 10):
        (folder.checkpoints.path / f"{iteration:06}" / "manifest.json").unlink()
    with pytest.raises(CannotContinue, match=r"has no complete checkpoint: .*000010"):
        find_checkpoint(folder)
    shutil.rmtree(folder.checkpoints.path)
    with pytest.raises(CannotContinue, match=r"recorded 10 iterations in metrics\.jsonl, but has no checkpoint"):
        find_checkpoint(folder)


def test_a_run_that_has_not_begun_begins(tmp_path: Path) -> None:
    assert find_checkpoint(RunFolder(tmp_path)) == (None, [])
