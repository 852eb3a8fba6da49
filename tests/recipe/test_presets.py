import pytest

from mixgrpo.recipe.load import RecipeError, resolve
from mixgrpo.recipe.presets import ALGORITHMS

MODEL = {"description": "", "model": {"path": "somewhere"}}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_name_is_all_it_takes(name: str) -> None:
    recipe = resolve({**MODEL, "algorithm": name})
    for section, values in ALGORITHMS[name].items():  # type: ignore[index]
        assert values.items() <= getattr(recipe, section).model_dump().items()


def test_a_recipes_own_keys_come_on_top() -> None:
    recipe = resolve({**MODEL, "algorithm": "mixgrpo-flash", "window": {"size": 2}, "suffix": {"compress_ratio": 0.5}})
    assert (recipe.window.size, recipe.suffix.solver, recipe.suffix.compress_ratio) == (2, "dpm++2-midpoint", 0.5)


def test_another_strategy_is_the_recipes_own() -> None:
    recipe = resolve({**MODEL, "algorithm": "mixgrpo", "window": {"strategy": "random", "seed": 3}})
    assert recipe.window.strategy == "random"


def test_choosing_an_algorithm_drops_what_the_recipe_said_for_its_own() -> None:
    data = {**MODEL, "algorithm": "mixgrpo", "window": {"size": 2}, "sde": {"noise_level": 0.1}, "credit": "picture"}
    recipe = resolve(data, ["algorithm=dancegrpo", "update.learning_rate=1e-5"])
    assert (recipe.sde.type, recipe.sde.noise_level, recipe.window.size) == ("dance", 0.3, None)
    assert recipe.credit == "noise"


def test_a_rate_chosen_for_pictures_is_not_kept_for_noise() -> None:
    data = {**MODEL, "credit": "picture"}
    for change in ("algorithm=dancegrpo", "credit=noise"):
        with pytest.raises(RecipeError, match=r"noise, credited now, bears about a third of it"):
            resolve(data, [change])
    assert resolve(data, ["algorithm=dancegrpo", "credit=picture"]).credit == "picture"
    assert resolve(data, ["window.size=2"]).credit == "picture"


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"algorithm = 'grpo': must be mixgrpo, .*dancegrpo or turbo"):
        resolve({**MODEL, "algorithm": "grpo"})
