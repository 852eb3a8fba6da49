import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from mixgrpo.training.checkpoint import Snapshot, latest, load, save

SAVE_FOREVER = """
import sys, torch
from pathlib import Path
from mixgrpo.training.checkpoint import Snapshot, save
for i in range(1, 100000):
    save(Path(sys.argv[1]), Snapshot(i, {"weight/a": torch.full((1000, 1000), float(i))}), keep=2)
    print(i, flush=True)
"""


def test_only_the_newest_are_kept_and_latest_is_the_last(tmp_path: Path) -> None:
    for i in (1, 2, 10):
        save(tmp_path, Snapshot(i, {"weight/a": torch.tensor([float(i)])}), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000002", "000010", "latest"]
    newest = latest(tmp_path)
    assert newest is not None
    assert newest.name == "000010"
    assert load(newest).tensors["weight/a"].item() == 10


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    assert latest(tmp_path / "none") is None


def test_a_process_killed_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
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
        newest = latest(folder)
        assert newest is not None
        state = load(newest)
        assert state.iteration >= reported
        assert (state.tensors["weight/a"] == state.iteration).all()


def test_the_start_may_be_kept_beside_the_newest(tmp_path: Path) -> None:
    for i in (0, 1, 2, 3):
        save(tmp_path, Snapshot(i, {"weight/a": torch.zeros(1)}), keep=1, keep_start=i < 3)
        expected = ["000000", "latest"] if i == 0 else ["000000", f"00000{i}", "latest"]
        assert sorted(path.name for path in tmp_path.iterdir()) == (expected if i < 3 else ["000003", "latest"])
