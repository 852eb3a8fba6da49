from pathlib import Path

import pytest

from mixgrpo.recipe.load import RecipeError, load_recipe, resolve, shipped_recipes
from mixgrpo.recipe.pricing import counting_grid

MINIMAL = {"description": "", "model": {"path": "somewhere"}, "prompts": "scenes", "rewards": {"scenes": 1}}


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_plan(name: str) -> None:
    recipe = load_recipe(name)
    for iteration in range(0, recipe.iterations, 7):
        plan = recipe.plan_at(iteration, counting_grid(recipe))
        assert plan.steps[-1].sigma_next == 0
        assert plan.trained


def test_the_papers_values() -> None:
    mix, flash, frozen = (load_recipe(f"flux-dev-hpdv2{suffix}") for suffix in ("", "-flash", "-flash-frozen"))
    assert mix.window_at(0) == range(4)
    assert mix.window_at(25) == range(1, 5)
    assert mix.window_at(19 * 25) == range(19, 23)
    assert mix.window_at(20 * 25) == range(4)
    assert (flash.suffix.solver, flash.suffix.compress_ratio, frozen.suffix.compress_ratio) == (
        "dpm++2-midpoint",
        0.4,
        0.2,
    )
    assert {frozen.window_at(i) for i in range(300)} == {range(4)}


def test_a_null_size_trains_every_step_of_the_range() -> None:
    assert resolve({**MINIMAL, "window": {"strategy": "frozen", "size": None}}).window_at(3) == range(24)
    assert resolve({**MINIMAL, "window": {"size": None, "strategy": "progressive", "range": [2, 9]}}).window_at(
        99
    ) == range(2, 9)


def test_verl_omni_names_mean_what_they_mean_there() -> None:
    """Its progressive window moves by its whole size and stays at the end."""
    verl = {
        "sde_type": "sde",
        "noise_level": 1.2,
        "sde_window_size": 2,
        "sde_window_range": [0, 9],
        "sample_strategy": "progressive",
        "iters_per_group": 3,
    }
    recipe = resolve({**MINIMAL, "grid": {"steps": 10}, **verl})
    assert (recipe.sde.type, recipe.sde.noise_level) == ("flow", 1.2)
    assert [recipe.window_at(k).start for k in range(0, 18, 3)] == [0, 2, 4, 6, 7, 7]
    drawn = resolve(
        {
            **MINIMAL,
            "sample_strategy": "random",
            "sde_window_range": [0, 5],
            "sde_window_seed": 42,
            "sde_window_size": 2,
        }
    )
    assert [drawn.window_at(k).start for k in range(8)] == [0, 0, 3, 2, 0, 2, 2, 0]


def test_a_setting_has_one_name_at_a_time() -> None:
    with pytest.raises(RecipeError, match=r"sde_window_size and window.size are the same setting"):
        resolve({**MINIMAL, "sde_window_size": 2, "window": {"strategy": "frozen", "size": 4}})


def test_overrides() -> None:
    recipe = load_recipe("flux-dev-hpdv2", ["window.size=2", "sde_type=cps", "grid.shift=model", "iterations=12"])
    assert (recipe.window.size, recipe.sde.type, recipe.grid.shift, recipe.iterations) == (2, "cps", "model", 12)


def test_another_strategy_drops_the_keys_of_the_old_one() -> None:
    recipe = load_recipe("flux-dev-hpdv2", ["window.strategy=random", "window.seed=3"])
    assert (recipe.window.strategy, recipe.window.size, recipe.window.range) == ("random", 4, (0, 23))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("window.size=24", r"window.size = 24: must be at most 23, the number of steps in window.range \[0, 23\]"),
        ("window.stride=0", "window.stride = 0: must be greater than or equal to 1"),
        ("window.range=[0, 25]", r"window.range = \[0, 25\]: .* may be at most 24, .* never stochastic"),
        ("window.range=[5, 5]", r"window.range = \[5, 5\]: must be .* 0 <= start < end <= 24"),
        ("window.range=[5]", r"window.range = .*: must be \[start, end\], two step numbers"),
        (
            "window.strategy=zigzag",
            "window.strategy = 'zigzag': must be progressive, decay, exp_decay, random, stratified or frozen",
        ),
        ("window.seed=3", r"window.seed = 3: window.strategy progressive has no such key; random or stratified has it"),
        ("window.sise=3", "window.sise = 3: unknown key; did you mean window.size"),
        ("windw=3", "windw = 3: unknown key; did you mean window"),
        ("sde_windw_size=3", "sde_windw_size = 3: unknown key; did you mean sde_window_size"),
        ("lr=1e-5", "lr = 1e-05: unknown key; did you mean update.learning_rate"),
        ("zzz=1", "zzz = 1: unknown key; known are description, algorithm, iterations"),
        ("sde.type=ode", "sde.type = 'ode': must be 'flow', 'dance', 'cps', 'precise' or 'dance-precise'"),
        ("sde.noise_level=0", "sde.noise_level = 0: must be greater than or equal to 0.001"),
        ("sde.noise_level=.inf", "sde.noise_level = inf: must be a finite number"),
        ("suffix.compress_ratio=1.5", "suffix.compress_ratio = 1.5: must be less than or equal to 1"),
        ("suffix.solver=ddim", "suffix.solver = 'ddim': must be 'euler', 'dpm"),
        ("grid.steps=many", "grid.steps = 'many': must be a valid integer"),
        ("grid.shift=much", "grid.shift = 'much': must be a number from 0.01 to 100, or 'model'"),
        ("rollout.group_size=1", "rollout.group_size = 1: must be greater than or equal to 2"),
        ("rollout=3", "rollout = 3: must be a section with keys of its own"),
        ("tune_only=context", r"tune_only = 'context': must be a list: \[first, second\]"),
        ("model.device=cuda", "model.device = 'cuda': unknown key; known are model.path, model.dtype, model.height"),
        ("rewards=my.py:redness", "rewards = 'my.py:redness': must be a section: write rewards.my.py:redness=1"),
        ("extends=scenes", "extends=scenes: a recipe file extends another; here, name the other recipe itself"),
        ("rewards={}", "rewards = {}: must have at least 1 item"),
        ("iterations", "'iterations' is not an override: write key=value"),
        ("window.size=[", "window.size=.*: not valid YAML"),
    ],
)
def test_impossible_settings_are_refused_in_one_sentence(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as refusal:
        load_recipe("flux-dev-hpdv2", [override])
    assert "\n" not in str(refusal.value)


def test_cps_noise_is_bounded() -> None:
    with pytest.raises(RecipeError, match=r"sde.noise_level = 2.5: must be below 2 for type cps"):
        load_recipe("flux-dev-hpdv2", ["sde.type=cps", "sde.noise_level=2.5"])


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("description: a\nmodel: {path: x}\nseed: 1\nseed: 2\n")
    with pytest.raises(RecipeError, match='duplicate key "seed"'):
        load_recipe(str(path))


@pytest.mark.parametrize(("name", "said"), [("scense", "did you mean scenes"), ("sana", "known are .*flux-dev-hpdv2")])
def test_a_missing_recipe_names_the_closest_or_all(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=rf"no recipe '{name}': {said}.* \(a .yaml file or the folder of a run"):
        load_recipe(name)


def test_an_own_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {path: tiny}\nsde:\n  noise_level: 5e-1\n")
    assert load_recipe(str(path)).sde.noise_level == 0.5


def test_a_reward_may_be_a_file_and_a_function() -> None:
    recipe = resolve(MINIMAL, ["rewards.some/dir/own.py:score=0.5", "rewards.scenes=1"])
    assert recipe.weights == {"some/dir/own.py:score": 0.5, "scenes": 1.0}


def test_some_reward_must_count() -> None:
    with pytest.raises(RecipeError, match="at least one weight must be above 0"):
        resolve({**MINIMAL, "rewards": {"scenes": 0}})


def test_weights_are_chosen_for_full_tuning_only() -> None:
    assert load_recipe("scenes", ["tune_only=['*context*']"]).tune_only == ("*context*",)
    assert load_recipe("scenes", ["tune=lora"]).tune_only == ()
    with pytest.raises(RecipeError, match="tune_only: applies to tune = full"):
        load_recipe("scenes", ["tune=lora", "tune_only=['*context*']"])


def test_what_is_best_is_said_by_a_reward_of_the_run() -> None:
    rewards = {"scenes": 0.5, "scenes-strict": 0}
    assert resolve({**MINIMAL, "rewards": rewards}).best_by == {"scenes": 0.5}
    assert resolve({**MINIMAL, "rewards": rewards, "evaluation": {"best": "scenes-strict"}}).best_by == {
        "scenes-strict": 1.0
    }
    with pytest.raises(RecipeError, match=r"evaluation\.best = 'hpsv2': must be one of scenes, scenes-strict"):
        resolve({**MINIMAL, "rewards": rewards, "evaluation": {"best": "hpsv2"}})
