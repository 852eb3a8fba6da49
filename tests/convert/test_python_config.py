import pytest

from mixgrpo.convert.errors import ConvertError
from mixgrpo.convert.python_config import Computed, read_python


def test_assignments_and_arithmetic_on_what_was_assigned() -> None:
    text = """
gpu_number = 4
config.sample.num_steps = 10
config.sample.half = (0, config.sample.num_steps // 2)
config.n = int(48 / (gpu_number * 2 / 3))
config.reward_fn = {"a": 1.0}
config.sample.num_steps = 12
"""
    given = read_python(text)
    assert given == {
        "sample.num_steps": 12,
        "sample.half": [0, 5],
        "n": 18,
        "reward_fn": {"a": 1.0},
        "gpu_number": 4,
    }


def test_sections_with_names_of_their_own() -> None:
    text = """
def get_config():
    config = ml_collections.ConfigDict()
    config.train = train = ml_collections.ConfigDict()
    train.beta = -0.5
    return config
"""
    assert read_python(text) == {"train.beta": -0.5}


def test_a_function_begins_with_another() -> None:
    text = """
def first():
    config = base.get_config()
    config.a = 1
    config.b = 2
    return config
def second():
    config = first()
    config.b = 3
    return config
"""
    assert read_python(text, "second") == {"a": 1, "b": 3}
    with pytest.raises(ConvertError, match="2 configurations: name one, such as FILE:second"):
        read_python(text)
    with pytest.raises(ConvertError, match="no function third: the file has first, second"):
        read_python(text, "third")


@pytest.mark.parametrize(
    "expression",
    ["os.system('touch made')", "__import__('os').getcwd()", "9 ** 9 ** 9", "2 / 0", "unknown + 1", "f'{x}'"],
)
def test_what_is_computed_is_kept_as_text(expression: str) -> None:
    assert isinstance(read_python(f"config.a = {expression}")["a"], Computed)


def test_what_depends_on_a_condition_is_not_guessed() -> None:
    assert isinstance(read_python("config.a = 1\nif x:\n    config.a = 2")["a"], Computed)


def test_a_circle_and_bad_python_are_sentences() -> None:
    with pytest.raises(ConvertError, match="a begins with itself"):
        read_python("def a():\n    config = a()\n")
    with pytest.raises(ConvertError, match="not valid Python"):
        read_python("config.a = = 1")


def test_numbers_that_grow_without_end_are_not_computed() -> None:
    text = "x = 3\n" + "x = x * x\n" * 60 + "config.a = x"
    assert isinstance(read_python(text)["a"], Computed)
