from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixgrpo.cli.main import app
from mixgrpo.convert.conversion import convert
from mixgrpo.recipe.load import load_recipe, resolve

PUBLISHED = Path(__file__).parents[1] / "convert" / "published"


def test_the_file_that_is_written_is_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = PUBLISHED / "mixgrpo.sh"
    shown = CliRunner().invoke(app, ["convert", str(script), "--out", "recipe.yaml"])
    assert shown.exit_code == 0, shown.output
    for title in ("took (", "changed (", "could not take (", "to do"):
        assert title in shown.output
    written = load_recipe("recipe.yaml")
    assert written == resolve(convert(script.read_text()).recipe)
    again = CliRunner().invoke(app, ["convert", str(script), "--out", "recipe.yaml"])
    assert (again.exit_code, again.output) == (2, "--out recipe.yaml: is there already; name another file\n")


def test_without_out_the_recipe_alone_goes_to_standard_output(tmp_path: Path) -> None:
    text = (PUBLISHED / "verl-omni.sh").read_text()
    shown = CliRunner().invoke(app, ["convert", "-"], input=text)
    path = tmp_path / "recipe.yaml"
    path.write_text(shown.stdout)
    assert load_recipe(str(path)).rewards.keys() == {"ocr"}
    assert "could not take" in shown.stderr


def test_a_function_of_a_python_file() -> None:
    shown = CliRunner().invoke(app, ["convert", f"{PUBLISHED / 'flow_grpo.py.txt'}:geneval_sd3"])
    assert shown.exit_code == 0, shown.output
    assert "geneval" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.sh"], "nowhere.sh: cannot be read: No such file or directory"),
        (["nowhere.sh", "--from", "trl"], "--from trl: must be auto, verl-omni"),
        ([str(PUBLISHED)], "cannot be read: Is a directory"),
        ([str(PUBLISHED / "mixgrpo.sh"), "--out", "no/such/folder.yaml"], "cannot be written"),
        ([str(PUBLISHED / "flow_grpo.py.txt")], "name one, such as FILE:"),
    ],
)
def test_mistakes_are_sentences(arguments: list[str], sentence: str) -> None:
    shown = CliRunner().invoke(app, ["convert", *arguments])
    assert shown.exit_code == 2
    assert sentence in shown.stderr
    assert "Traceback" not in shown.output
