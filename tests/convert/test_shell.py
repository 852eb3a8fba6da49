import pytest

from mixgrpo.convert.errors import ConvertError
from mixgrpo.convert.shell import commands
from mixgrpo.convert.words import flags, overrides, plain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a \\\n  b # c\n", ["a", "b"]),
        ("a b#c '# d'", ["a", "b#c", "# d"]),
        ("N=3\na $N ${N}x '$N' \"$N b\"", ["a", "3", "3x", "$N", "3 b"]),
        ("a ${N:-4} ${N:-$M}", ["a", "4", "$M"]),
        ("N=\na $N b", ["a", "b"]),
        ('A=\'x y "z"\'\na "$A"', ["a", 'x y "z"']),
        ("N=1; export M=$N\na $M", ["a", "1"]),
        ("a $(rm -rf x) $((1 + 2)) $HOME/x", ["a", "$(rm -rf x)", "$((1 + 2))", "$HOME/x"]),
        ("a \\$N", ["a", "$N"]),
    ],
)
def test_words_of_a_command(text: str, words: list[str]) -> None:
    assert commands(text) == [words]


def test_a_command_inside_quotes_is_read_with_the_variables_outside() -> None:
    text = 'N=5\nssh host "cd x ; export Y=7 ; torchrun train.py --n $N --y \\$Y --z \\$N"'
    assert ["torchrun", "train.py", "--n", "5", "--y", "7", "--z", "$N"] in commands(text)


def test_nothing_is_run(tmp_path: object) -> None:
    assert flags(f"torchrun train.py --n $(touch {tmp_path}/made)") == [("n", f"$(touch {tmp_path}/made)")]


def test_an_open_quote_is_a_sentence() -> None:
    with pytest.raises(ConvertError, match="a quote is never closed in the line that begins with 'a"):
        commands('a "b')


def test_flags() -> None:
    text = "git clone x\ntorchrun --nproc-per-node=8 train_x.py --on --n -1 --lr 1e-5 --path a/b --on2 $@"
    expected = [("nproc_per_node", 8), ("on", True), ("n", -1), ("lr", 1e-5), ("path", "a/b"), ("on2", True)]
    assert flags(text) == [*expected, ("$@", True)]


def test_flags_alone_need_no_command() -> None:
    assert flags("--n 1 \\\n --m 2") == [("n", 1), ("m", 2)]


def test_two_trainings_are_refused() -> None:
    with pytest.raises(ConvertError, match="2 commands that train"):
        flags("python train.py --n 1\npython train.py --n 2")


def test_overrides() -> None:
    text = "python3 -m verl_omni.trainer.main_diffusion a.b=1 +a.c='[0,5]' a.d=\"['x','y']\" \"$@\""
    assert overrides(text) == [("a.b", 1), ("a.c", [0, 5]), ("a.d", ["x", "y"]), ("$@", True)]
    assert overrides("a.b=1\na.c=x") == [("a.b", 1), ("a.c", "x")]


@pytest.mark.parametrize(
    ("text", "value"),
    [("None", None), ("True", True), ("1e-5", 1e-5), ("-1", -1), ("[a, b]", ["a", "b"]), ("9" * 5000, "9" * 5000)],
)
def test_plain_values(text: str, value: object) -> None:
    assert plain(text) == value
