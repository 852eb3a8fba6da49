import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench_setups import tiny_setup
from mixgrpo.bench import command
from mixgrpo.bench.command import check_options, setup_of
from mixgrpo.cli.main import app


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--levers", "--growth"], "--levers, --growth: give one of them"),
        (
            ["--levers", "--only", "turbo"],
            "--only: not an option of the experiment levers, which takes --model, --device, --dtype, --repetitions, "
            "--prompts",
        ),
        (["--faults", "--repetitions", "3"], "--repetitions: not an option of the experiment faults, which takes none"),
        (["--serving", "--png", "x.png"], "--png: the experiment serving has no chart"),
        (["--dtype", "float8"], "model.dtype = 'float8': must be 'float32', 'bfloat16' or 'float16'"),
        (
            ["--equal-terms"],
            "--learning-rate is missing: the recipe's, 0.001, was tuned for objective.type = image-credit",
        ),
    ],
)
def test_mistakes_are_refused_in_a_sentence(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments])
    assert result.exit_code == 1
    assert why in result.stderr


@pytest.mark.parametrize("what", command.EXPERIMENTS)
def test_an_experiment_takes_its_own_options(what: str) -> None:
    check_options(what, dict.fromkeys(command.EXPERIMENTS[what].options, 1), None)


def test_options_reach_the_setup() -> None:
    options = {"minutes": 3.0, "only": ["turbo"], "learning-rate": 1e-4, "own-grid": True, "recipe": ["scenes"]}
    setup = setup_of({"model": "scenes", "prompts": 7, "compile": True, **options})
    assert [*setup.algorithms] == ["DanceGRPO", "turbo"]
    assert (setup.seconds, setup.learning_rate, setup.own_grid, setup.recipes) == (180, 1e-4, True, ["scenes"])
    assert (setup.prompts, setup.compile) == (7, True)


def test_a_result_is_shown_and_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "setup_of", lambda given: tiny_setup(prompts=1, steps=5))
    monkeypatch.setattr("mixgrpo.bench.suffix.POSITIONS", (1,))
    command.bench("suffix", {"repetitions": 1}, tmp_path / "suffix.json", tmp_path / "suffix.png")
    result = json.loads((tmp_path / "suffix.json").read_text(encoding="utf-8"))
    assert len(result["rows"]) == 10
    assert result["latent_shape"] == [48, 16]
    assert "0.1 M parameters, latents 48 x 16" in capsys.readouterr().out
    assert (tmp_path / "suffix.png").stat().st_size > 1000
