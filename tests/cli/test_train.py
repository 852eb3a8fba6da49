"""The options of `mixgrpo train` for launchers."""

from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mixgrpo.cli.main import app
from mixgrpo.parallel.on_ray import Workers


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["scenes"], None),
        (["scenes", "--ray"], "auto"),
        (["scenes", "--ray", "--workers", "2"], "auto"),
        (["--ray", "10.0.0.1:6379", "scenes"], "10.0.0.1:6379"),
    ],
)
def test_a_cluster_has_an_address_or_is_the_one_that_runs_here(arguments: list[str], address: str | None) -> None:
    train: Any = get_command(app).commands["train"]  # type: ignore[attr-defined]
    given = train.make_context("train", arguments).params
    assert (given["ray"], given["recipe"]) == (address, "scenes")


def test_workers_are_a_number_or_the_fewest_and_the_most() -> None:
    assert Workers.parse("4") == (4, 4)
    assert Workers.parse("2:4") == (2, 4)
    for wrong in ("0", "4:2", "some", ":4", "2:4:6"):
        with pytest.raises(ValueError, match=f"--workers {wrong}: must be a number such as 4"):
            Workers.parse(wrong)


@pytest.mark.parametrize(
    ("options", "restarts", "words"),
    [
        (["--continue"], "0", "--out: name the run's folder"),
        ([], "3", "--out: name the run's folder"),
        (["--workers", "2"], "0", "are for --ray"),
        (["--restarts", "2"], "0", "are for --ray"),
    ],
)
def test_what_does_not_go_together_is_refused(options: list[str], restarts: str, words: str) -> None:
    environment = {"TORCHELASTIC_MAX_RESTARTS": restarts}
    run = CliRunner().invoke(app, ["train", "scenes", *options], env=environment)
    assert run.exit_code == 2
    assert words in run.stderr
