"""Files are found from the recipe that names them, and the resolved recipe finds them from everywhere."""

from pathlib import Path

import pytest

from mixgrpo.recipe.load import load_recipe

RECIPE = """
extends: scenes
prompts: {train: train.txt, evaluation: ../held-out.jsonl}
speed: {text_cache: texts}
rewards:
  own.py:score: 0.5
  labelled: {reward: own.py:score}
  geneval: {detector: detect.py:detect}
  judge: {reward: vlm-judge, urls: ["http://127.0.0.1:1"], model: a/b, template: mine.txt, scale: [1, 5]}
  overall: {reward: vlm-judge, urls: ["http://127.0.0.1:1"], model: a/b, template: overall}
"""


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "mine.txt").write_text("How well does it show {prompt}?")
    (folder / "mine.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return Path("recipes/mine.yaml")


def test_paths_in_a_file_are_seen_from_that_file(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(recipe_file))
    folder = tmp_path / "recipes"
    assert recipe.prompts.train == f"{folder}/train.txt"
    assert recipe.prompts.evaluation == f"{tmp_path}/held-out.jsonl"
    assert recipe.speed.text_cache == f"{folder}/texts"
    assert recipe.rewards["own.py:score"].reward == f"{folder}/own.py:score"
    assert recipe.rewards["labelled"].reward == f"{folder}/own.py:score"
    assert recipe.rewards["geneval"].options == {"detector": f"{folder}/detect.py:detect"}
    assert recipe.rewards["judge"].options["template"] == f"{folder}/mine.txt"
    assert recipe.rewards["overall"].options["template"] == "overall"
    assert recipe.rewards["scenes"].reward is None


def test_paths_on_the_command_line_are_seen_from_the_working_directory(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").touch()
    changes = ["prompts.train=train.txt", "rewards.own.py:score=2", "rewards.other.py:score=1", "rewards.scenes=0"]
    recipe = load_recipe(str(recipe_file), changes)
    assert recipe.prompts.train == f"{tmp_path}/train.txt"
    assert recipe.rewards["own.py:score"].reward == f"{tmp_path}/recipes/own.py:score"
    assert recipe.rewards["own.py:score"].weight == 2
    assert recipe.rewards["other.py:score"].reward == f"{tmp_path}/other.py:score"


def test_a_model_in_a_folder_is_found_and_one_on_the_hub_left_alone(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "recipes" / "models" / "own").mkdir(parents=True)
    for written, resolved in (
        ("models/own", f"{tmp_path}/recipes/models/own"),
        ("./new", f"{tmp_path}/recipes/new"),
        ("some/where", "some/where"),
        ("tiny", "tiny"),
    ):
        recipe_file.write_text(f"extends: scenes\nmodel: {{path: {written}}}\nprompts: scenes\n")
        assert load_recipe(str(recipe_file)).model.path == resolved
