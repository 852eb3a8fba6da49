"""The shipped recipes, written with `extends`, resolve to what they were when each was written out."""

import json
from pathlib import Path

import pytest

from mixgrpo.recipe.load import load_recipe, shipped_recipes

REFERENCE = json.loads((Path(__file__).parent / "reference" / "shipped.json").read_text())


def test_each_has_a_reference() -> None:
    assert [*REFERENCE] == shipped_recipes()


@pytest.mark.parametrize("name", shipped_recipes())
def test_resolves_to_its_reference(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except that files are absolute now."""
    monkeypatch.chdir(tmp_path)
    resolved = json.dumps(load_recipe(name).model_dump(mode="json"))
    assert json.loads(resolved.replace(f"{tmp_path}/", "")) == REFERENCE[name]


@pytest.mark.parametrize(
    ("name", "prompts", "images", "updates"),
    [
        # Tencent-Hunyuan/MixGRPO's scripts, and the paper's comparison at their batch
        ("flux-dev-hpdv2", 32, 12, 4),
        ("flux-dev-hpdv2-flash", 32, 12, 4),
        ("flux-dev-hpdv2-flash-frozen", 32, 12, 4),
        ("flux-dev-dancegrpo", 32, 12, 4),
        ("flux-dev-flowgrpo", 32, 12, 4),
        # yifan123/flow_grpo, config/grpo.py:geneval_sd3
        ("sd35-medium-geneval", 48, 24, 2),
        # verl-omni, run_qwen_image_ocr_lora_mixgrpo.sh
        ("qwen-image-ocr-lora", 32, 16, 2),
        # X-GenGroup/Flow-Factory, examples/grpo/lora
        ("flux2-klein-base-lora", 48, 16, 2),
        ("z-image-lora", 48, 16, 2),
    ],
)
def test_an_iteration_is_as_large_as_the_published_one(name: str, prompts: int, images: int, updates: int) -> None:
    recipe = load_recipe(name)
    assert (recipe.rollout.prompts, recipe.rollout.group_size) == (prompts, images)
    assert recipe.update.minibatches * recipe.update.passes == updates
