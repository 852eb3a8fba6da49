import json
import math
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mixgrpo.runs.folder import Best, RunFolder
from runs import small_recipe


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    created = RunFolder(tmp_path / "run")
    created.create(small_recipe(rewards={"scenes": 1.0}))
    return created


def test_a_run_that_never_began_can_be_begun_again(folder: RunFolder) -> None:
    folder.recipe.write_text("")  # as after a crash
    recipe = small_recipe(rewards={"scenes": 1.0}, seed=7)
    folder.create(recipe)
    assert folder.load_recipe() == recipe


def test_a_run_that_has_begun_is_not_overwritten(folder: RunFolder) -> None:
    folder.append({"iteration": 0})
    with pytest.raises(FileExistsError, match="holds a run already"):
        folder.create(small_recipe(rewards={"scenes": 1.0}))


def fail(folder: RunFolder, *, saved: bool) -> None:
    with folder.new_run(small_recipe(rewards={"scenes": 1.0})):
        assert folder.recipe.is_file()
        if saved:
            (folder.checkpoints.path / "000000").mkdir(parents=True)
        raise ValueError("no such weights")


@pytest.mark.parametrize(
    ("there_before", "saved", "left"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_a_failed_start_removes_its_own_empty_folder_alone(
    tmp_path: Path, there_before: bool, saved: bool, left: bool
) -> None:
    folder = RunFolder(tmp_path / "new")
    if there_before:
        folder.path.mkdir()
    with pytest.raises(ValueError, match="no such weights"):
        fail(folder, saved=saved)
    assert folder.path.exists() == left


@pytest.mark.parametrize("damage", [b'{"iteration": 1, "rewa', b"[]", b"\xff\xfe", b"{}", b"1"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_damaged_line_costs_that_line_alone(folder: RunFolder, damage: bytes, place: int) -> None:
    whole = [json.dumps({"iteration": k}).encode() for k in range(3)]
    folder.metrics.write_bytes(b"\n".join([*whole[:place], damage, b"", *whole[place:]]) + b"\n")
    lines, damaged = folder.lines()
    assert [line["iteration"] for line in lines] == [0, 1, 2]
    assert damaged == 1


def test_what_will_be_repeated_is_dropped(folder: RunFolder) -> None:
    for k in range(4):
        folder.append({"iteration": k, "loss": math.nan if k == 1 else 0.5})
    folder.drop_from(2)
    assert folder.lines() == ([{"iteration": 0, "loss": 0.5}, {"iteration": 1, "loss": None}], 0)


def hold(path: Path, ready: Connection) -> None:
    with RunFolder(path).lock():
        ready.send(True)
        ready.recv()


def test_one_process_at_a_time_trains_in_a_folder(folder: RunFolder) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(folder.path, there))
    process.start()
    assert here.recv()
    with pytest.raises(BlockingIOError, match=f"being trained by process {process.pid} on"), folder.lock():
        pass
    process.kill()  # a crash releases it
    process.join()
    with folder.lock():
        assert (folder.path / "run.lock").read_text().startswith(f"process {os.getpid()} on")


def test_the_best_is_remembered(folder: RunFolder) -> None:
    assert folder.best() is None
    folder.write_best(Best(3, 0.5, {"scenes": 1.0}))
    assert folder.best() == Best(3, 0.5, {"scenes": 1.0})
