import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixgrpo import __version__
from mixgrpo.recipe.load import shipped_recipes


def mixgrpo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([Path(sys.executable).with_name("mixgrpo"), *arguments], capture_output=True, text=True)


def test_plan_shows_a_picture_and_the_cost() -> None:
    result = mixgrpo("plan", "flux-dev-hpdv2-flash", "--iteration", "20")
    assert result.returncode == 0
    assert "──████████◆ · ◆" in result.stdout
    assert "relative to DanceGRPO" in result.stdout


@pytest.mark.parametrize("name", shipped_recipes())
def test_plan_says_the_same_to_a_machine(name: str) -> None:
    result = mixgrpo("plan", name, "--json")
    assert result.returncode == 0
    plan = json.loads(result.stdout)
    assert plan["steps"][0]["kind"] in ("ODE", "SDE")
    assert (
        sum(window["last_iteration"] - window["first_iteration"] + 1 for window in plan["windows"])
        == plan["iterations"]
    )
    run = plan["cost_per_image"]["whole_run"]
    assert run["shared_in_group"]["cost"] < run["every_image_alone"]["cost"]


def test_the_title_says_which_algorithm_was_chosen_instead() -> None:
    result = mixgrpo("plan", "scenes", "algorithm=mixgrpo", "update.learning_rate=1e-4")
    assert "(changed to algorithm: mixgrpo)" in " ".join(result.stdout.split())


def test_the_picture_shows_what_the_update_learns_from() -> None:
    by_prompt = mixgrpo("plan", "scenes", "window.strategy=stratified").stdout
    assert "18 - 23" in by_prompt
    forked = ["objective.type=rvm", "update.learning_rate=1e-3"]
    assert "SDE, not trained" in mixgrpo("plan", "scenes", *forked).stdout
    by_ode = mixgrpo("plan", "scenes", *forked, "rollout.shared_noise=false").stdout
    assert "SDE" not in by_ode
    assert "Window over the run" not in by_ode


def test_a_window_that_comes_back_is_shown_once() -> None:
    shown = mixgrpo("plan", "scenes").stdout
    rows = shown.partition("Window over the run")[2].partition("Steps")[0].splitlines()
    assert [row.split()[0] for row in rows if row.strip()][1:] == ["0", "1", "2", "3", "..."]
    assert "and again from the first" in shown
    assert "again" not in mixgrpo("plan", "flux-dev-hpdv2").stdout


def test_an_iteration_after_the_last_is_refused() -> None:
    result = mixgrpo("plan", "scenes", "--iteration", "135")
    assert (result.returncode, result.stderr) == (2, "--iteration 135: must be below 135, the number of iterations\n")


def test_a_run_of_ten_million_iterations_and_ten_thousand_steps_is_shown() -> None:
    result = mixgrpo("plan", "flux-dev-dancegrpo", "iterations=10000000", "grid.steps=10000")
    assert result.returncode == 0
    assert "and on to iteration 9999999" in result.stdout
    assert len(result.stdout.splitlines()) < 200


def test_the_papers_ratio() -> None:
    """25 forwards and 4 forward-backwards against DanceGRPO's 25 and 14."""
    cost = json.loads(mixgrpo("plan", "flux-dev-hpdv2", "--json").stdout)["cost_per_image"]["iteration_0"]
    assert cost["every_image_alone"]["relative_to_dancegrpo"] == pytest.approx((25 + 3 * 4) / (25 + 3 * 14))


def test_adapters_make_the_backward_cheaper() -> None:
    cost = json.loads(mixgrpo("plan", "flux-dev-hpdv2", "tune=lora", "--json").stdout)["cost_per_image"]["iteration_0"]
    assert cost["every_image_alone"]["cost"] == 25 + 2 * 4


def test_a_mistake_is_one_line_and_no_traceback() -> None:
    result = mixgrpo("plan", "flux-dev-hpdv2", "window.sise=3")
    assert result.returncode == 2
    assert result.stderr == "window.sise = 3: unknown key; did you mean window.size?\n"
    assert result.stdout == ""


@pytest.mark.parametrize(("local_rank", "shown"), [("0", 1), ("1", 0)])
def test_of_several_processes_one_shows_a_mistake(local_rank: str, shown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    result = mixgrpo("train", "scenes", "window.sise=2")
    assert result.returncode == 2
    assert result.stderr.count("window.size") == shown


def test_recipes_are_listed_with_a_line_each() -> None:
    lines = mixgrpo("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == shipped_recipes()
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("arguments", [["plan", "scenes"], ["plan", "flux-dev-hpdv2"], ["recipes"]])
def test_plan_and_recipes_load_no_framework(arguments: list[str]) -> None:
    """They answer before torch alone would be imported."""
    script = (
        "import sys\n"
        "from mixgrpo.cli.main import app\n"
        f"app({arguments}, standalone_mode=False)\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(result.stderr.split())
    assert "mixgrpo.recipe.plan_view" in loaded
    assert loaded.isdisjoint({"torch", "diffusers", "transformers", "peft", "scipy"})


def test_the_public_names_are_in_the_package() -> None:
    import mixgrpo

    for name in mixgrpo.__all__:
        assert getattr(mixgrpo, name) is not None
    with pytest.raises(AttributeError, match="module 'mixgrpo' has no attribute 'Trainer'"):
        _ = mixgrpo.Trainer


def test_the_version_is_shown() -> None:
    assert mixgrpo("--version").stdout == f"mixgrpo {__version__}\n"


@pytest.mark.parametrize("command", ["train", "plan"])
def test_the_shell_completes_the_names_of_recipes(command: str) -> None:
    words = {"COMP_WORDS": f"mixgrpo {command} flux-dev-d", "COMP_CWORD": "2", "_MIXGRPO_COMPLETE": "complete_bash"}
    program = Path(sys.executable).with_name("mixgrpo")
    result = subprocess.run([program], env={**os.environ, **words}, capture_output=True, text=True)
    assert result.stdout.split() == [name for name in shipped_recipes() if name.startswith("flux-dev-d")] != []


def test_the_shell_learns_to_complete() -> None:
    help_text = mixgrpo("--help").stdout
    assert "--install-completion" in help_text
    assert "--show-completion" in help_text
