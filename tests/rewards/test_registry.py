import re
from pathlib import Path

import pytest
from PIL import Image

from mixgrpo.bench.local_servers import Answer, address_where_nothing_listens, local_server
from mixgrpo.recipe.load import RecipeError, resolve
from mixgrpo.rewards.clients.endpoints import AllServersFailed
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.networks.weights import MissingWeights
from mixgrpo.rewards.registry import check_options, check_rewards, find_rewards

MINIMAL = {"description": "", "model": {"path": "somewhere"}, "prompts": "scenes", "rewards": {"scenes": 1}}
IMAGES = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white")]


@pytest.fixture
def custom(tmp_path: Path) -> str:
    path = tmp_path / "custom.py"
    path.write_text("def size(images, prompts, **metadata):\n    return [float(image.width) for image in images]\n")
    return f"{path}:size"


def test_a_reward_is_found_by_name_by_file_or_by_label(custom: str) -> None:
    recipe = resolve(
        {**MINIMAL, "rewards": {"scenes-aesthetic": 1, custom: 0.5, "small": {"reward": "jpeg-compressibility"}}}
    )
    rewards = find_rewards(recipe.rewards)
    assert list(rewards) == ["scenes-aesthetic", custom, "small"]
    assert rewards[custom](IMAGES, ["a", "b"]) == [64, 64]
    assert all(score < 0 for score in rewards["small"](IMAGES, ["a", "b"]))


def test_a_dumped_recipe_resolves_to_the_same_recipe(custom: str) -> None:
    recipe = resolve(
        {**MINIMAL, "rewards": {custom: 0.0, "boxes": {"reward": "geneval", "detector": custom, "rule": "strict"}}}
    )
    again = resolve(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.rewards["boxes"].options == {"detector": custom, "rule": "strict"}
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


def test_an_override_may_name_a_reward_by_its_file(custom: str) -> None:
    recipe = resolve(MINIMAL, [f"rewards.{custom}=0.5", f"rewards.{custom}.weight=0.25", "rewards.scenes=0"])
    assert {label: entry.weight for label, entry in recipe.rewards.items()} == {custom: 0.25, "scenes": 0}


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ({"geneval": {"detektor": "d.py:d"}}, "rewards.geneval.detector is missing: it has no default"),
        (
            {"geneval": {"detector": "d.py:d", "rul": "strict"}},
            "rewards.geneval.rul = 'strict': unknown option; did you mean rule?",
        ),
        ({"scenes": {"wieght": 1}}, "rewards.scenes.wieght = 1: unknown option; did you mean weight?"),
        ({"scenes": {"zzz": 1}}, "rewards.scenes.zzz = 1: unknown option; known are weight, reward, url"),
        (
            {"boxes": {"reward": "geneval", "detector": "d.py:d", "rule": "kind"}},
            "rewards.boxes.rule = 'kind': must be 'partial' or 'strict'",
        ),
        (
            {"geneval": {"detector": "d.py:d", "threshold": "low"}},
            "rewards.geneval.threshold = 'low': must be a valid number",
        ),
        (
            {"custom.py:score": {"device": "cuda"}},
            "rewards.custom.py:score.device: a function of your own takes no options",
        ),
        (
            {"geneva": {"detector": "d.py:d"}},
            "rewards.geneva.detector: there is no reward 'geneva'; did you mean geneval?",
        ),
        ({"scenes": "much"}, "rewards.scenes.weight = 'much': must be a valid number"),
        ({"scenes": -1}, "rewards.scenes.weight = -1: must be greater than or equal to 0"),
    ],
)
def test_invalid_options_are_errors(rewards: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        resolve({**MINIMAL, "rewards": rewards})


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("scenes", {"url": "ftp://host"}, "rewards.scenes.url: 'ftp://host' is not a server's address"),
        ("scenes", {"url": "http://me:s3cret@host"}, "rewards.scenes.url: an address must not contain a user or a"),
        ("vlm-judge", {"urls": ["http://me:s3cret@host"], "model": "m"}, "rewards.vlm-judge.urls.0: an address must"),
    ],
)
def test_the_address_of_a_server_is_checked(label: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        check_options(label, RewardConfig.model_validate(options))
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scens", "rewards.scens: there is no reward 'scens'; did you mean scenes?"),
        ("nowhere.py:score", "nowhere.py:score: there is no Python file 'nowhere.py'"),
    ],
)
def test_an_unknown_reward_is_an_error(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        find_rewards({name: RewardConfig()})


def test_a_file_without_the_function_is_an_error(custom: str) -> None:
    with pytest.raises(ValueError, match="has no function sise"):
        find_rewards({custom.replace(":size", ":sise"): RewardConfig()})


def test_a_function_with_other_parameters_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "custom.py"
    file.write_text("def score(prompts, completions, **rest):\n    return []\n", encoding="utf-8")
    find_rewards({f"{file}:score": RewardConfig()})  # `images` goes into `rest`
    file = tmp_path / "other.py"
    file.write_text("def score(pictures, texts):\n    return []\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"its parameters are \(pictures, texts\), but it is called with images"):
        find_rewards({f"{file}:score": RewardConfig()})


def test_rewards_are_checked_before_anything_is_loaded(custom: str, tmp_path: Path) -> None:
    (tmp_path / "HPS_v2.1_compressed.pt").write_bytes(b"")
    (tmp_path / "tokenizer.json").write_bytes(b"")
    hpsv2 = RewardConfig.model_validate({"path": str(tmp_path), "tokenizer": str(tmp_path), "device": "cpu"})
    with local_server(lambda _: Answer(b"{}")) as server:
        served = RewardConfig(url=server.url)
        judge = RewardConfig.model_validate({"urls": [f"{server.url}/v1"], "model": "m"})
        entries = {custom: RewardConfig(), "hpsv2": hpsv2, "scenes": served, "vlm-judge": judge}
        assert check_rewards(entries).keys() == entries.keys()
    assert [request.path for request in server.requests] == ["/version", "/v1/models"]


@pytest.mark.parametrize("label", ["hpsv2", "pickscore", "imagereward", "clipscore", "aesthetic"])
def test_missing_weights_are_found_without_loading(label: str) -> None:
    with pytest.raises(MissingWeights, match=rf"rewards.{label}.path = .*: found no .* there"):
        check_rewards({label: RewardConfig.model_validate({"device": "cpu"})})


def test_a_server_that_is_down_is_found_at_once() -> None:
    with pytest.raises(AllServersFailed, match=r"no server answers: http.*mixgrpo serve-reward") as error:
        check_rewards({"scenes": RewardConfig(url=address_where_nothing_listens())})
    assert "\n" not in str(error.value)
