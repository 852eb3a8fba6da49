import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mixgrpo.runs.checkpoints import Checkpoints, DamagedCheckpoint
from mixgrpo.training.snapshot import Snapshot

SHARD = "shard-00001-model-00001-of-00001.safetensors"

SAVE_FOREVER = """
import sys, torch
from pathlib import Path
from mixgrpo.runs.checkpoints import Checkpoints
from mixgrpo.training.snapshot import Snapshot
for i in range(1, 100000):
    Checkpoints(Path(sys.argv[1])).save(Snapshot(i, {"weight/a": torch.full((1000, 1000), float(i))}), {}, keep=2)
    print(i, flush=True)
"""


def save(checkpoints: Checkpoints, iteration: int, **options: object) -> None:
    tensors = {"weight/a": torch.full((4,), float(iteration)), "average/a": torch.zeros(4)}
    checkpoints.save(Snapshot(iteration, tensors), {"seed": 3}, **{"keep": 9, **options})  # type: ignore[arg-type]


@pytest.fixture
def three(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path)
    for iteration in (0, 5, 10):
        save(checkpoints, iteration)
    return checkpoints


def test_what_was_saved_comes_back(three: Checkpoints) -> None:
    assert three.newest() == (10, [])
    assert three.load(5).tensors["weight/a"].tolist() == [5.0] * 4
    assert three.load_weights(5)["a"].tolist() == [5.0] * 4
    assert three.load_weights(5, "average")["a"].tolist() == [0.0] * 4
    assert three.facts(5) == {"iteration": 5, "recipe": {"seed": 3}, "processes": 1}
    assert (three.path / "latest").resolve().name == "000010"


def test_only_the_newest_and_those_to_spare_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for iteration in (0, 1, 2, 3):
        save(checkpoints, iteration, keep=1, spare={0, 2})
    assert checkpoints.iterations() == [0, 2, 3]
    save(checkpoints, 4, keep=2)
    assert checkpoints.iterations() == [3, 4]


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").newest() == (None, [])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def as_a_list(path: Path) -> None:
    path.write_text("[]")


@pytest.mark.parametrize("name", [SHARD, "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, empty, as_a_list, Path.unlink])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    three: Checkpoints, name: str, damage: object
) -> None:
    damage(three.path / "000010" / name)  # type: ignore[operator]
    iteration, problems = three.newest()
    assert iteration == 5
    assert len(problems) == 1
    assert f"000010/{name}" in problems[0] or "000010/state" in problems[0]


def test_a_state_under_another_name_is_no_checkpoint(three: Checkpoints) -> None:
    shutil.copytree(three.path / "000005", three.path / "000012")
    assert three.newest().iteration == 10
    with pytest.raises(DamagedCheckpoint, match="another iteration"):
        three.verify(12)


def test_damaged_ones_are_set_aside_so_that_new_ones_are_the_newest(three: Checkpoints) -> None:
    flip_a_bit(three.path / "000010" / SHARD)
    three.set_aside_after(5)
    save(three, 6, keep=1)
    assert three.newest().iteration == 6
    assert (three.path / "000010.damaged").is_dir()


@pytest.mark.parametrize("latest", ["gone", "dangling", "copied"])
def test_the_link_may_be_lost_or_copied(three: Checkpoints, latest: str) -> None:
    link = three.path / "latest"
    link.unlink()
    if latest == "dangling":
        link.symlink_to("999999")
    elif latest == "copied":
        shutil.copytree(three.path / "000010", link)
    assert three.newest().iteration == 10
    save(three, 11)
    assert three.newest().iteration == 11


def test_others_may_read_it(three: Checkpoints) -> None:
    modes = {path.stat().st_mode & 0o777 for path in (three.path / "000010").iterdir()}
    assert len(modes) == 1
    assert modes.pop() & 0o044 == 0o044


def test_a_process_killed_while_saving_leaves_a_complete_checkpoint(tmp_path: Path) -> None:
    """Killed at moments spread over several saves."""
    for k in range(3):
        folder = tmp_path / str(k)
        with subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, str(folder)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(3):
                reported = int(process.stdout.readline())
            end = time.monotonic() + 0.004 * k
            while time.monotonic() < end:
                pass
            process.send_signal(signal.SIGKILL)
        iteration, damaged = Checkpoints(folder).newest()
        assert damaged == []
        assert iteration is not None
        assert iteration >= reported
        assert Checkpoints(folder).load(iteration).tensors["weight/a"][0, 0].item() == iteration


def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "full")
    checkpoints.path.mkdir()
    (checkpoints.path / "in-the-way").write_text("")
    script = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from mixgrpo.runs.checkpoints import Checkpoints\n"
        "from mixgrpo.training.snapshot import Snapshot\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))\n"
        "try:\n"
        "    Checkpoints(Path(sys.argv[1])).save(Snapshot(1, {'weight/a': torch.zeros(2**20)}), {}, keep=1)\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(checkpoints.path)], capture_output=True, text=True)
    assert "could not be written: " in done.stdout, done.stdout + done.stderr
    assert checkpoints.newest().iteration is None


def test_a_manifest_states_sizes_and_checksums(three: Checkpoints) -> None:
    manifest = json.loads((three.path / "000010" / "manifest.json").read_text())
    assert {*manifest} == {SHARD, "state.json"}
    assert manifest[SHARD]["bytes"] == (three.path / "000010" / SHARD).stat().st_size
