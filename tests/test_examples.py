"""The examples, as their README section says to run them."""

import subprocess
import sys
from pathlib import Path

from mixgrpo.runs.folder import RunFolder

SMALL = ["rollout.prompts=2", "rollout.group_size=4", "evaluation.prompts=2", "evaluation.steps=2"]


def test_an_own_reward_trains_beside_others_and_is_recorded_like_them(tmp_path: Path) -> None:
    own = "examples/brightness_reward.py:brightness"
    rewards = [f"rewards.{own}=0.5", "rewards.scenes-strict.weight=0", "rewards.scenes-aesthetic=0.25"]
    train = [sys.executable, "-m", "mixgrpo", "train", "--processes", "1", "scenes", "iterations=1", *SMALL, *rewards]
    done = subprocess.run(
        [*train, "--out", tmp_path / "run"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = RunFolder(tmp_path / "run")
    assert folder.load_recipe().weights == {"scenes": 1.0, own: 0.5, "scenes-aesthetic": 0.25}
    metrics = folder.lines()[0][-1]
    names = ["scenes", "scenes-strict", own, "scenes-aesthetic"]
    assert [*metrics["rewards"]] == [*metrics["failed_scores"]] == names
    assert 0 < metrics["rewards"][own] < 1
