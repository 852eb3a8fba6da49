import pytest

from mixgrpo.recipe.load import RecipeError, resolve
from mixgrpo.recipe.presets import PRESETS

MODEL = {"description": "", "model": {"path": "somewhere"}, "prompts": "scenes", "rewards": {"scenes": 1}}


@pytest.mark.parametrize("name", PRESETS)
def test_a_name_is_all_it_takes(name: str) -> None:
    recipe = resolve({**MODEL, "algorithm": name})
    for section, values in PRESETS[name].items():  # type: ignore[index]
        assert values.items() <= getattr(recipe, section).model_dump().items()


def test_a_recipes_own_keys_come_on_top() -> None:
    recipe = resolve({**MODEL, "algorithm": "mixgrpo-flash", "window": {"size": 2}, "suffix": {"compress_ratio": 0.5}})
    assert (recipe.window.size, recipe.suffix.solver, recipe.suffix.compress_ratio) == (2, "dpm++2-midpoint", 0.5)


def test_another_strategy_is_the_recipes_own() -> None:
    recipe = resolve({**MODEL, "algorithm": "mixgrpo", "window": {"strategy": "random", "seed": 3}})
    assert recipe.window.strategy == "random"


def test_choosing_an_algorithm_drops_what_the_recipe_said_for_its_own() -> None:
    data = {
        **MODEL,
        "algorithm": "mixgrpo",
        "window": {"size": 2},
        "sde": {"noise_level": 0.1},
        "objective": {"type": "image-credit"},
    }
    recipe = resolve(data, ["algorithm=dancegrpo", "update.learning_rate=1e-5"])
    assert (recipe.sde.type, recipe.sde.noise_level, recipe.window.size) == ("dance", 0.3, None)
    assert recipe.objective.type == "clipped-ratio"


def test_a_learning_rate_tuned_for_image_credit_is_not_kept_for_the_clipped_ratio() -> None:
    data = {**MODEL, "objective": {"type": "image-credit"}}
    for change in ("algorithm=dancegrpo", "objective.type=clipped-ratio"):
        with pytest.raises(RecipeError, match=r"clipped-ratio needs about a third of it"):
            resolve(data, [change])
    assert resolve(data, ["algorithm=dancegrpo", "objective.type=image-credit"]).objective.type == "image-credit"
    assert resolve(data, ["window.size=2"]).objective.type == "image-credit"


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"algorithm = 'grpo': must be mixgrpo, .*dancegrpo or turbo"):
        resolve({**MODEL, "algorithm": "grpo"})
