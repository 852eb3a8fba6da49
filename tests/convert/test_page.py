"""The page for people who come from other trainers shows what the command prints."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixgrpo.cli.main import app

ROOT = Path(__file__).parents[2]


def test_the_example_is_what_the_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Path(__file__).parent / "published" / "dancegrpo.sh", tmp_path / "finetune_flux_grpo.sh")
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["convert", "finetune_flux_grpo.sh", "--out", "recipe.yaml"])
    page = (ROOT / "docs" / "how-to" / "coming-from.md").read_text(encoding="utf-8")
    assert f"--out recipe.yaml\n{shown.output.rstrip()}\n```" in page
