from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.trackers import TRACKERS, flat
from runs import small_recipe


def test_nested_numbers_get_joined_names() -> None:
    metrics = {"iteration": 3, "rewards": {"scenes": 0.5}, "window": [1, 2], "kl": 0.0}
    assert flat(metrics) == {"iteration": 3.0, "rewards/scenes": 0.5, "kl": 0.0}


def test_tensorboard_can_be_read_back(tmp_path: Path) -> None:
    tracker = TRACKERS["tensorboard"](small_recipe(), RunFolder(tmp_path))
    for i in range(3):
        tracker.log(i, {"rewards/scenes": i / 2})
    tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("rewards/scenes")] == [(0, 0.0), (1, 0.5), (2, 1.0)]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_each_is_an_extra_of_its_name(name: str) -> None:
    assert name in TRACKERS
    assert f"{name} = [" in (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
