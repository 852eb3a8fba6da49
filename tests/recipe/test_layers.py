"""A recipe on top of another, and overrides on top of both."""

from itertools import permutations
from pathlib import Path

import pytest

from mixgrpo.recipe.load import RecipeError, load_recipe, resolve


@pytest.mark.parametrize(
    "overrides",
    [
        ["window.size=2", "algorithm=mixgrpo", "update.learning_rate=1e-4"],
        ["window.seed=3", "window.strategy=random", "window={range: [2, 9]}"],
        ["rewards.scenes.weight=0.5", "rewards={scenes: 2, scenes-text: 1}", "rewards.scenes-text=3"],
        ["suffix.history=suffix", "suffix.solver=dpm++3", "suffix.compress_ratio=0.5"],
        ["objective.kl_weight=0.1", "objective.type=clipped-ratio", "update.learning_rate=1e-4"],
    ],
)
def test_the_order_of_overrides_does_not_matter(overrides: list[str]) -> None:
    first, *others = [load_recipe("scenes", order) for order in permutations(overrides)]
    assert all(recipe == first for recipe in others)


def test_what_an_override_says_survives_the_choice_of_an_algorithm() -> None:
    assert load_recipe("scenes", ["window.size=2", "algorithm=mixgrpo", "update.learning_rate=1e-4"]).window.size == 2


@pytest.mark.parametrize("overrides", [["tune_only=['*context*']", "tune=lora"], ["tune=lora", "tune_only=['*']"]])
def test_no_override_is_dropped_in_silence(overrides: list[str]) -> None:
    with pytest.raises(RecipeError, match="tune_only: applies to tune = full"):
        load_recipe("scenes", overrides)


def test_the_way_of_tuning_that_a_recipe_has_already_changes_nothing() -> None:
    assert load_recipe("scenes", ["tune=full"]) == load_recipe("scenes")


def test_of_a_key_given_twice_the_last_value_counts() -> None:
    assert load_recipe("scenes", ["iterations=3", "iterations=4"]).iterations == 4


def test_the_description_says_that_the_algorithm_was_changed() -> None:
    described = load_recipe("scenes", ["algorithm=mixgrpo", "update.learning_rate=1e-4"]).description
    assert described.endswith("(changed to algorithm: mixgrpo)")
    assert "changed" not in load_recipe("scenes", ["algorithm=turbo"]).description


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lora.rank=32"], r"lora = \{'rank': 32, 'alpha': 128\}: applies to tune = lora"),
        (
            ["suffix.solver=euler", "suffix.history=suffix"],
            "suffix.history = 'suffix': suffix.solver = 'euler' looks back",
        ),
        (["speed.text_cache_gib=3"], "speed.text_cache_gib = 3.0: needs speed.text_cache, a folder"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("scenes", overrides)


def test_what_a_recipe_chose_for_its_own_way_goes_with_it() -> None:
    assert load_recipe("sd35-medium-geneval", ["tune=full"]).lora == load_recipe("scenes").lora
    assert load_recipe("scenes", ["suffix.solver=euler"]).suffix.history == "trajectory"


def test_a_dumped_recipe_resolves_to_itself() -> None:
    """It lists every key, also those that nothing reads."""
    for name in ("scenes", "flux-dev-turbo", "sd35-medium-geneval"):
        recipe = load_recipe(name)
        assert resolve(recipe.model_dump(mode="json")) == recipe


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_recipe_may_extend_a_shipped_one(tmp_path: Path) -> None:
    recipe = load_recipe(_write(tmp_path / "mine.yaml", "extends: scenes\niterations: 7\nrollout: {prompts: 2}\n"))
    assert recipe == load_recipe("scenes", ["iterations=7", "rollout.prompts=2"])


def test_a_reward_of_the_extended_recipe_can_be_left_out(tmp_path: Path) -> None:
    rewards = "rewards: {scenes: null, scenes-strict: null, ocr: 1}"
    assert load_recipe(_write(tmp_path / "mine.yaml", f"extends: scenes\n{rewards}\n")).weights == {"ocr": 1.0}
    assert load_recipe("scenes", ["rewards.scenes=null"]).weights == {"scenes-strict": 1.0}


def test_a_recipe_from_python_may_extend_one() -> None:
    assert resolve({"extends": "flux-dev-hpdv2", "seed": 3}) == load_recipe("flux-dev-hpdv2", ["seed=3"])


def test_a_recipe_may_extend_a_file_beside_it_or_a_run(tmp_path: Path) -> None:
    _write(tmp_path / "base.yaml", "model: {path: tiny}\nrollout: {prompts: 5, group_size: 6}\n")
    _write(tmp_path / "runs" / "one" / "recipe.yaml", "extends: ../../base.yaml\nseed: 3\n")
    recipe = load_recipe(_write(tmp_path / "mine.yaml", "extends: runs/one\nrollout: {prompts: 2}\n"))
    assert (recipe.seed, recipe.rollout.prompts, recipe.rollout.group_size) == (3, 2, 6)
    assert load_recipe(str(tmp_path / "runs" / "one")).rollout.prompts == 5


def test_another_algorithm_drops_what_the_extended_recipe_chose_for_its_own(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.yaml", "extends: flux-dev-hpdv2\nalgorithm: dancegrpo\n")
    assert load_recipe(path).window.range is None
    with pytest.raises(RecipeError, match=r"update.learning_rate: the recipe's learning rate was tuned for"):
        load_recipe(_write(tmp_path / "other.yaml", "extends: scenes\nalgorithm: dancegrpo\n"))


def test_a_circle_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.yaml", "extends: b.yaml\n")
    _write(tmp_path / "b.yaml", "extends: a.yaml\n")
    with pytest.raises(RecipeError, match=r"a.yaml: extends itself: a.yaml extends b.yaml extends a.yaml"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("base", "message"), [("nothing", "no recipe 'nothing'"), ("[a]", r"extends = \['a'\]: must be")]
)
def test_what_is_extended_must_be_a_recipe(base: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(_write(tmp_path / "a.yaml", f"extends: {base}\n"))
