from pathlib import Path

import pytest
from PIL import Image

from mixgrpo.recipe.load import RecipeError, resolve
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.registry import find_rewards

MINIMAL = {"description": "", "model": {"path": "somewhere"}}
PICTURES = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white")]


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text("def size(images, prompts, **metadata):\n    return [float(image.width) for image in images]\n")
    return f"{path}:size"


def test_a_reward_goes_by_its_name_its_file_or_a_label(own: str) -> None:
    recipe = resolve(
        {**MINIMAL, "rewards": {"scenes-aesthetic": 1, own: 0.5, "small": {"reward": "jpeg-compressibility"}}}
    )
    rewards = find_rewards(recipe.rewards)
    assert list(rewards) == ["scenes-aesthetic", own, "small"]
    assert rewards[own](PICTURES, ["a", "b"]) == [64, 64]
    assert all(score < 0 for score in rewards["small"](PICTURES, ["a", "b"]))


def test_what_a_run_writes_down_it_reads_again(own: str) -> None:
    recipe = resolve(
        {**MINIMAL, "rewards": {own: 0.0, "boxes": {"reward": "geneval", "detector": own, "rule": "strict"}}}
    )
    again = resolve(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.rewards["boxes"].options == {"detector": own, "rule": "strict"}
    assert again.weights == {"boxes": 1.0}


@pytest.mark.parametrize(
    ("overrides", "weight", "options"),
    [
        (["rewards.boxes=0.5"], 0.5, {"detector": "d.py:d"}),
        (["rewards.boxes.weight=0.5"], 0.5, {"detector": "d.py:d"}),
        (["rewards.boxes.rule=strict", "rewards.boxes.detector=e.py:e"], 1.0, {"detector": "e.py:e", "rule": "strict"}),
        (["rewards.boxes={reward: scenes, weight: 2}"], 2.0, {}),
    ],
)
def test_overrides_change_the_weight_or_an_option(overrides: list[str], weight: float, options: dict[str, str]) -> None:
    given = {"scenes": 1.0, "boxes": {"reward": "geneval", "detector": "d.py:d"}}
    boxes = resolve({**MINIMAL, "rewards": given}, overrides).rewards["boxes"]
    assert (boxes.weight, boxes.options) == (weight, options)


def test_the_label_of_an_override_may_be_a_file(own: str) -> None:
    recipe = resolve(MINIMAL, [f"rewards.{own}=0.5", f"rewards.{own}.weight=0.25", "rewards.scenes=0"])
    assert {label: entry.weight for label, entry in recipe.rewards.items()} == {own: 0.25, "scenes": 0}


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ({"geneval": {"detektor": "d.py:d"}}, "rewards.geneval.detector is missing: it has no default"),
        (
            {"geneval": {"detector": "d.py:d", "rul": "strict"}},
            "rewards.geneval.rul = 'strict': unknown option; the nearest known one is rule",
        ),
        ({"scenes": {"wieght": 1}}, "rewards.scenes.wieght = 1: unknown option; the nearest known one is weight"),
        ({"scenes": {"zzz": 1}}, "rewards.scenes.zzz = 1: unknown option; known are weight, reward, url"),
        (
            {"boxes": {"reward": "geneval", "detector": "d.py:d", "rule": "kind"}},
            "rewards.boxes.rule = 'kind': must be 'partial' or 'strict'",
        ),
        (
            {"geneval": {"detector": "d.py:d", "threshold": "low"}},
            "rewards.geneval.threshold = 'low': must be a valid number",
        ),
        ({"own.py:score": {"device": "cuda"}}, "rewards.own.py:score.device: a function of your own has no options"),
        (
            {"geneva": {"detector": "d.py:d"}},
            "rewards.geneva.detector: there is no reward 'geneva'; the nearest known one is geneval",
        ),
        ({"scenes": "much"}, "rewards.scenes.weight = 'much': must be a valid number"),
        ({"scenes": -1}, "rewards.scenes.weight = -1: must be greater than or equal to 0"),
    ],
)
def test_options_that_a_reward_does_not_have_are_refused(rewards: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve({**MINIMAL, "rewards": rewards})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scens", "rewards.scens: there is no reward 'scens'; the nearest known one is scenes"),
        ("nowhere.py:score", "nowhere.py:score: there is no Python file 'nowhere.py'"),
    ],
)
def test_a_reward_that_is_not_there_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_rewards({name: RewardConfig()})


def test_a_file_without_the_function_is_refused(own: str) -> None:
    with pytest.raises(ValueError, match="has no function sise"):
        find_rewards({own.replace(":size", ":sise"): RewardConfig()})
