"""Every key of the schema is described, under the name by which overrides know it."""

import pytest

from mixgrpo.recipe.errors import RecipeError
from mixgrpo.recipe.keys import TAGGED, Key, keys, kinds_of, sections
from mixgrpo.recipe.load import load_recipe


def test_every_key_has_a_meaning_and_a_type() -> None:
    assert [key.name for key in keys() if not key.meaning or not key.type] == []
    assert [name for name, meaning in sections().items() if not meaning] == []


@pytest.mark.parametrize("key", [key for key in keys() if not key.name.startswith("rewards.")], ids=str)
def test_an_override_knows_the_key(key: Key) -> None:
    """A value that nothing takes is refused for itself, not as an unknown key."""
    section = key.name.partition(".")[0]
    kind = [f"{section}.{TAGGED[section][0]}={key.kinds[0]}", "update.learning_rate=1e-4"] if key.kinds else []
    with pytest.raises(RecipeError) as error:
        load_recipe("scenes", [*dict.fromkeys([*kind, f"{key.name}={{no: such}}"])])
    assert key.name in str(error.value)
    assert "unknown key" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "takes", "default"),
    [
        ("iterations", "integer at least 1", "300"),
        ("model.path", "text", ""),
        ("model.quantize", "int8 or null", "null"),
        ("sde.noise_level", "number from 0.001 to 100", "0.7"),
        ("window.range", "[integer; integer] or null", "null"),
        ("update.betas", "[number at least 0, below 1; number at least 0, below 1]", "[0.9, 0.999]"),
        ("tune_only", "list of text", "[]"),
        ("speed.compile", "true or false", "false"),
    ],
)
def test_types_in_words(name: str, takes: str, default: str) -> None:
    (key,) = [key for key in keys() if key.name == name]
    assert (key.type, key.default) == (takes, default)


def test_a_key_of_some_kinds_names_them() -> None:
    (stride,) = [key for key in keys() if key.name == "window.stride"]
    assert stride.kinds == ("progressive", "decay", "exp_decay")
    assert {key.default for key in keys() if key.name == "objective.weighting"} == {"velocity", "ghuber", "adaptive"}


def test_kinds_are_described() -> None:
    assert "stays at the start" in kinds_of("window")["frozen"].lower()
    assert kinds_of("sde") == {}
