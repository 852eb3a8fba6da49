import json
from importlib import metadata

import pytest
from typer.testing import CliRunner

from mixgrpo.cli.main import app


def test_json_has_every_observation() -> None:
    shown = CliRunner().invoke(app, ["doctor", "--json", "--no-self-test"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert told["ok"] is True
    assert {each["part"] for each in told["observations"]} >= {"machine", "packages", "extras", "rewards", "models"}


def test_what_is_broken_gives_exit_status_1_and_the_step_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["no-such-package>=2"])
    shown = CliRunner().invoke(app, ["doctor", "--no-self-test"])
    assert shown.exit_code == 1
    assert "pip install 'no-such-package>=2'" in shown.output
    assert shown.output.rstrip().endswith("Broken: no-such-package.")
