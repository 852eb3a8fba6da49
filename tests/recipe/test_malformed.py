"""Whatever is written in a recipe: an answer in a sentence, and soon."""

import re
from pathlib import Path

import pytest

from mixgrpo.recipe.load import RecipeError, load_recipe

START = "model: {path: tiny}\n"
ALIAS_BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: " + "9" * 5000, "not valid YAML: Exceeds the limit (4300 digits)"),
        ("seed: 0x" + "f" * 5000, "a number of 20000 bits"),
        ("iterations: " + "9" * 30, "iterations = " + "9" * 30 + ": must be less than or equal to 10000000"),
        ("iterations: true", "iterations = True: must be a valid integer"),
        ("iterations: 3.0", "iterations = 3.0: must be a valid integer"),
        ("iterations: '3'", "iterations = '3': must be a valid integer"),
        ("iterations: !!int x", "tags (tag:yaml.org,2002:int) are not read"),
        ("iterations: 2020-99-99", "not valid YAML: month must be in 1..12"),
        ("zz: " + "[" * 3000, "nested more than 20 deep"),
        ("zz: " + "{a: " * 3000, "nested more than 20 deep"),
        (ALIAS_BOMB, "aliases (*a0) are not read"),
        ("zz: " + "y" * 1_000_000, "1,000,025 characters: must be at most 1,000,000"),
        ("1: 2", "the key 1 is not a name: put it in quotes"),
        ("? {a: b}\n: 3", "found unhashable key"),
        ("seed: 1\nseed: 2", 'found duplicate key "seed" with value "2"'),
        ('description: "\\ud800"', "is not text: it holds a NUL or half a surrogate pair"),
        ("grid: {shift: 1e300}", "grid.shift = 1e+300: must be a number from 0.01 to 100"),
        ("grid: {shift: true}", "grid.shift = True: must be a number from 0.01 to 100"),
        ("grid: {steps: 1000000000}", "grid.steps = 1000000000: must be less than or equal to 10000"),
        ("sde: {noise_level: 1e308}", "sde.noise_level = 1e+308: must be less than or equal to 100"),
        ("algorithm: [a]", "algorithm = ['a']: must be mixgrpo"),
        ("algorithm: {a: b}", "algorithm = {'a': 'b'}: must be mixgrpo"),
        ("sde: 5\nnoise_level: 0.7", "sde = 5: must be a section with keys of its own"),
        ("window: 3\nsde_window_size: 2", "window = 3: must be a section with keys of its own"),
        ("window: {strategy: [1]}", "window.strategy = '[1]': must be progressive"),
        ("update: {betas: [-1, 2]}", "update.betas = 2: must be less than 1"),
        ("update: {learning_rate: 1e300}", "update.learning_rate = 1e+300: must be less than or equal to 1"),
        (
            "update: {max_grad_norm: 1e-300}",
            "update.max_grad_norm = 1e-300: must be greater than or equal to 0.00000001",
        ),
        (
            "objective: {clip_range: 1e-300}",
            "objective.clip_range = 1e-300: must be greater than or equal to 0.00000001",
        ),
        ("objective: {kl_weight: 1e38}", "objective.kl_weight = 1e+38: must be less than or equal to 1000000"),
        ("rollout: {prompts: 1000000000000000000}", "must be less than or equal to 100000"),
        ("scoring: {threads: 1000000000}", "scoring.threads = 1000000000: must be less than or equal to 1000"),
        ("rewards: {scenes: true}", "rewards.scenes.weight = True: must be a valid number"),
        ("rewards: {'': 1}", "rewards.: a reward is a name, or a function of your own"),
        ("rewards: {':': 1}", "rewards.:: a reward is a name, or a function of your own"),
        ("rewards: {scenes: {url: 'ftp://x'}}", "rewards.scenes.url: 'ftp://x' is not a server's address"),
        ("rewards: {scenes: {url: 'http://'}}", "rewards.scenes.url: 'http://' is not a server's address"),
        (
            "rewards: {scenes: {url: 'http://x:99999'}}",
            "rewards.scenes.url: 'http://x:99999' is not a server's address",
        ),
    ],
)
def test_mistakes_in_a_file(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{START}{text}\n")
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(str(path))


def test_a_model_without_a_name() -> None:
    with pytest.raises(RecipeError, match=r"model.path = '': must be a folder or a name on the hub"):
        load_recipe("flux-dev-hpdv2", ["model.path=''"])


@pytest.mark.parametrize(("key", "value"), [("height", 63), ("width", 10**12)])
def test_sizes_of_images(key: str, value: int) -> None:
    with pytest.raises(RecipeError, match=f"model.{key} = {value}: must be"):
        load_recipe("scenes", [f"model.{key}={value}"])


@pytest.mark.parametrize("content", [bytes(range(256)), START.encode("utf-16"), "description: café".encode("latin-1")])
def test_a_file_that_is_no_text_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=f"^{path}: not a text file in UTF-8"):
        load_recipe(str(path))


@pytest.mark.parametrize("override", ["iterations=!!int x", "window.strategy=[1]", "window.strategy={}", "seed=\udcff"])
def test_mistakes_in_an_override_name_it(override: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(override.partition("=")[0])):
        load_recipe("scenes", [override])


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="must not contain a user or a password") as refusal:
        load_recipe("scenes", ["rewards.scenes.url=http://me:s3cret@host:1"])
    assert "s3cret" not in str(refusal.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(START.encode("utf-8-sig"))
    assert load_recipe(str(path)).model.path == "tiny"
