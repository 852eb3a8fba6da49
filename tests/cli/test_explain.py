"""`mixgrpo explain` as typed."""

import subprocess
import sys

import pytest

from mixgrpo.reference.entries import entries


def explain(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mixgrpo", "explain", *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("window.size", ["window.size: a key of a recipe", "default  4"]),
        ("learning_rate", ["update.learning_rate: a key", "learning_rate: a metric"]),
        ("objective.weighting", ["only with  rvm", "only with  awm", "only with  v-grpo, elbo-pepg"]),
        ("reward-hacking", ["reward-hacking: a finding"]),
        ("vlm-judge", ["vlm-judge: a reward", "retries      integer at least 0; default 3"]),
    ],
)
def test_names_are_explained(name: str, said: list[str]) -> None:
    done = explain(name)
    assert done.returncode == 0
    assert all(part in done.stdout for part in said), done.stdout


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    done = explain("window.sise")
    assert (done.returncode, done.stdout) == (2, "")
    assert "window.sise: no such name; did you mean window.size?" in done.stderr


def test_every_entry_has_a_meaning() -> None:
    assert [entry.name for entry in entries() if not entry.meaning] == []


def test_nothing_slow_is_imported() -> None:
    code = "import sys, mixgrpo.cli.explain as e; e.entries(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
