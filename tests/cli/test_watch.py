"""`mixgrpo watch` as typed."""

import signal
import subprocess
import sys
from pathlib import Path

from report_runs import made
from voter import get


def test_a_page_is_served_until_ctrl_c(tmp_path: Path) -> None:
    run = made(tmp_path / "run", 3)
    command = [sys.executable, "-m", "mixgrpo", "watch", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.startswith(f"watch {run} at http://127.0.0.1:")
    assert get(said.split()[-1], "data")["runs"][0]["name"] == "run"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "the page is closed; the run goes on\n"
    assert process.wait(30) == 0


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mixgrpo", "watch", str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path} holds no run: it has no recipe.yaml\n")
