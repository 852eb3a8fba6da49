"""What the README and the documentation tell people to type works, on the tiny model and a few images."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mixgrpo import tiny
from mixgrpo.cli.main import app
from mixgrpo.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]

OWN = (
    "def score(images, prompts):\n    return [float(sum(image.resize((1, 1)).getpixel((0, 0)))) for image in images]\n"
)
LITTLE = [
    "iterations=2",
    "rollout.prompts=2",
    "rollout.group_size=4",
    "evaluation.prompts=2",
    "evaluation.steps=2",
]
TINY = [f"model.path={tiny.path()}", "model.height=64", "model.width=64", "model.dtype=float32"]
"""What stands for FLUX.1-dev: its weights are not at hand, nor those of its rewards."""


def blocks(language: str, *pages: Path) -> list[str]:
    return [
        block
        for page in pages
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    ]


def commands(first_words: str, *pages: Path) -> list[list[str]]:
    """The lines of shell blocks that begin so, without their comments."""
    shell = [block.replace("\\\n", " ") for block in blocks("bash", *pages)]
    lines = [line for block in shell for line in block.splitlines() if line.startswith(first_words)]
    return [shlex.split(line.partition(" < ")[0], comments=True) for line in lines]


def is_at_hand(words: list[str]) -> bool:
    """A recipe that has a name here, and asks nobody."""
    return not {"RECIPE", "recipe.yaml"} & {*words} and not any("human" in word for word in words)


def once(found: list[list[str]]) -> list[list[str]]:
    return [[*words] for words in dict.fromkeys(map(tuple, found))]


def without_what_is_not_at_hand(recipe: str, overrides: list[str]) -> list[str]:
    kept = [override for override in overrides if not override.startswith("model.path=")]
    if not recipe.startswith("flux") and recipe != "my.yaml":
        return kept
    own = (
        [] if recipe == "my.yaml" or any(override.startswith("prompts") for override in kept) else ["prompts=mine.txt"]
    )
    rewards = dict.fromkeys([*load_recipe("flux-dev-hpdv2").rewards, "own.py:score"])
    given = [override for override in kept if not override.startswith("rewards")]
    return [*given, *own, *TINY, f"rewards={json.dumps({**rewards, 'jpeg-compressibility': 1})}"]


def run(*command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's, with the files that the pages speak of."""
    path = tmp_path_factory.mktemp("user")
    (path / "own.py").write_text(OWN)
    (path / "mine.txt").write_text("".join(f"a red fox, number {i}\n" for i in range(40)))
    (own,) = [block for block in blocks("yaml", *PAGES) if block.startswith("# my.yaml")]
    (path / "my.yaml").write_text(own)
    return path


def test_there_is_something_to_try() -> None:
    assert len(commands("mixgrpo", *PAGES)) >= 30
    assert len(commands("torchrun", *PAGES)) >= 4
    assert len(blocks("python", README)) >= 2


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def examples_of_help() -> list[list[str]]:
    known: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    lines = [line for command in known.values() for line in (command.epilog or "").split("\n\n")]
    return [shlex.split(line) for line in lines if line.startswith("mixgrpo ")]


@pytest.mark.parametrize("words", once([*commands("mixgrpo", *PAGES), *examples_of_help()]), ids=shlex.join)
def test_commands_and_options_exist(words: list[str]) -> None:
    command: Any = get_command(app).commands[words[1]]  # type: ignore[attr-defined]
    command.make_context(words[1], words[2:])


@pytest.mark.parametrize(
    "words",
    once([words for verb in ("train", "plan") for words in filter(is_at_hand, commands(f"mixgrpo {verb}", *PAGES))]),
    ids=shlex.join,
)
def test_recipes_and_overrides_are_accepted(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    recipe, overrides = words[2], [word for word in words[3:] if "=" in word and not word.startswith("--")]
    has_prompts = recipe in ("my.yaml", "scenes") or any(override.startswith("prompts") for override in overrides)
    load_recipe(recipe, overrides if has_prompts else [*overrides, "prompts=mine.txt"])


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    run(str(mkdocs), "build", "--strict", "--site-dir", str(tmp_path / "site"), folder=ROOT)
    recipe = (tmp_path / "site/reference/recipe.html").read_text(encoding="utf-8")
    assert "window.trained_fraction" in recipe
    assert not re.search('(src|href)="https?://[^"]+[.](js|css|woff2?)"', recipe)


@pytest.mark.long
@pytest.mark.parametrize("command", once([*filter(is_at_hand, commands("mixgrpo train", *PAGES))]), ids=shlex.join)
def test_training(command: list[str], folder: Path, tmp_path: Path) -> None:
    recipe, overrides = command[2], command[3:]
    (tmp_path / "mine.txt").write_text((folder / "mine.txt").read_text())
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "my.yaml").write_text((folder / "my.yaml").read_text())
    run(*command[:3], *without_what_is_not_at_hand(recipe, overrides), *LITTLE, folder=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("command", commands("torchrun", README), ids=shlex.join)
def test_training_on_several_processes(command: list[str], folder: Path) -> None:
    start = command.index("train") + 2
    here = [word if word != "8" else "2" for word in command[:start]]
    run(*here, *without_what_is_not_at_hand(command[start - 1], command[start:]), *LITTLE, folder=folder)


@pytest.mark.long
@pytest.mark.parametrize("page", ["start/laptop.md", "how-to/runs.md"])
def test_what_is_done_with_a_run(page: str, tmp_path: Path) -> None:
    """In the page's order; the run goes on to 3 iterations instead of 200."""
    run("mixgrpo", "train", "scenes", *LITTLE, "evaluation.every=1", "--out", "runs/mine", folder=tmp_path)
    verbs = ("resume", "export", "eval", "sample")
    tried = [words for name in verbs for words in commands(f"mixgrpo {name}", ROOT / "docs" / page)]
    assert len(tried) >= 2
    for words in tried:
        here = [word.replace("runs/scenes-1", "runs/mine") for word in words if word != "--merge"]
        run(*[re.sub("^iterations=.*", "iterations=3", word) for word in here], folder=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    "example", blocks("python", README, ROOT / "docs/how-to/python.md", ROOT / "docs/results/tiny.md")
)
def test_examples_in_python(example: str, tmp_path: Path) -> None:
    for model in ("/path/to/a/FluxPipeline", "black-forest-labs/FLUX.1-dev"):
        example = example.replace(model, str(tiny.path()))
    example = example.replace('device="cuda"', 'device="cpu"').replace("iterations=20", "iterations=2")
    example = example.replace('"window.size=2"]', '"window.size=2", "model.height=64", "model.width=64"]')
    example = example.replace(
        'rollout={"prompts": 4, "group_size": 12}',
        'rollout={"prompts": 2, "group_size": 4}, model={"height": 64, "width": 64, "dtype": "float32"}',
    )
    (tmp_path / "example.py").write_text(example)
    run(sys.executable, "example.py", folder=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    "session", [block for block in blocks("console", *PAGES) if "hpsv2" not in block and "convert" not in block]
)
def test_sessions_show_what_is_printed(session: str, folder: Path) -> None:
    """Plans and refusals word by word, however wide the columns are; a line of dots stands for anything."""
    for turn in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        line, _, shown = turn.partition("\n")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        process = subprocess.Popen(
            shlex.split(line, comments=True),
            cwd=folder,
            env={**os.environ, "PATH": path, "COLUMNS": "120", "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if shown.startswith("serving"):
            assert process.stdout is not None
            assert process.stdout.readline() in shown
            process.send_signal(signal.SIGINT)
        printed = process.communicate()[0]
        if not shown.startswith("serving"):
            parts = [re.escape(spaced_once(part)) for part in shown.split("\n...\n")]
            assert re.search(".*".join(parts), spaced_once(printed), flags=re.DOTALL), printed


def spaced_once(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.splitlines())
