"""Toy prompts, rewards and sizes are those of the toy model only."""

from pathlib import Path

import pytest

from mixgrpo import tiny
from mixgrpo.recipe.load import RecipeError, load_recipe


def _recipe(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("path", ["tiny", tiny.path()])
def test_the_tiny_model_alone_is_a_recipe(path: object, tmp_path: Path) -> None:
    recipe = load_recipe(_recipe(tmp_path, f"model: {{path: {path}}}\n"))
    assert (recipe.prompts.train, recipe.prompts.evaluation, recipe.weights) == ("scenes", "scenes", {"scenes": 1.0})
    model = recipe.model
    assert (model.height, model.width, model.guidance_scale, model.max_sequence_length) == (64, 64, 3.5, 16)


def test_own_keys_come_on_top(tmp_path: Path) -> None:
    recipe = load_recipe(_recipe(tmp_path, "model: {path: tiny, height: 32}\nrewards: {ocr: 1}\n"))
    assert (recipe.model.height, recipe.model.width, recipe.weights) == (32, 64, {"ocr": 1.0})


@pytest.mark.parametrize("missing", ["prompts", "rewards"])
def test_another_model_needs_its_own(missing: str, tmp_path: Path) -> None:
    sections = {"prompts": "prompts: mine.txt", "rewards": "rewards: {ocr: 1}"}
    given = "\n".join(text for name, text in sections.items() if name != missing)
    with pytest.raises(RecipeError, match=f"^{missing} is missing: it has a default for model.path = tiny alone$"):
        load_recipe(_recipe(tmp_path, f"model: {{path: some/where}}\n{given}\n"))


def test_one_name_stands_for_training_and_held_out_prompts(tmp_path: Path) -> None:
    recipe = load_recipe(_recipe(tmp_path, "extends: scenes\nprompts: mine.txt\n"))
    assert recipe.prompts.train == f"{tmp_path}/mine.txt#train"
    assert recipe.prompts.evaluation == f"{tmp_path}/mine.txt#held-out"
    assert load_recipe("scenes", ["prompts=python"]).prompts.evaluation == "python"


@pytest.mark.parametrize("text", ["prompts: {train: mine.txt}", "prompts:\n  train: mine.txt"])
def test_training_prompts_alone_are_not_evaluated_on_others(text: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"prompts.evaluation is missing: name a file of held-out prompts, or write"):
        load_recipe(_recipe(tmp_path, f"extends: scenes\n{text}\n"))
    with pytest.raises(RecipeError, match=r"prompts.evaluation is missing"):
        load_recipe("scenes", ["prompts.train=mine.txt"])
