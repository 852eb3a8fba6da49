"""What the README tells people to type works: its commands and examples, on the tiny model and a few images."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mixgrpo import tiny
from mixgrpo.recipe.load import load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

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


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(first_words: str) -> list[list[str]]:
    """The lines of shell blocks that begin so, without their comments."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith(first_words)]
    return [shlex.split(line, comments=True) for line in lines]


def without_what_is_not_at_hand(recipe: str, overrides: list[str]) -> list[str]:
    kept = [override for override in overrides if not override.startswith("model.path=")]
    if not recipe.startswith("flux") and recipe != "my.yaml":
        return kept
    preference = dict.fromkeys(load_recipe("flux-dev-hpdv2").rewards)
    own = (
        [] if any(override.startswith("prompts") for override in kept) or recipe == "my.yaml" else ["prompts=mine.txt"]
    )
    return [*kept, *own, *TINY, f"rewards={json.dumps({**preference, 'jpeg-compressibility': 1})}"]


def run(*command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's, with the files that the README speaks of."""
    path = tmp_path_factory.mktemp("user")
    (path / "own.py").write_text(OWN)
    (path / "mine.txt").write_text("".join(f"a red fox, number {i}\n" for i in range(40)))
    (path / "examples").symlink_to(ROOT / "examples")
    (own,) = [block for block in blocks("yaml") if block.startswith("# my.yaml")]
    (path / "my.yaml").write_text(own)
    return path


def test_there_is_something_to_try() -> None:
    assert len(commands("mixgrpo train")) >= 5
    assert len(commands("torchrun")) >= 1
    assert len(blocks("python")) >= 3


@pytest.mark.long
@pytest.mark.parametrize("command", commands("mixgrpo train"), ids=shlex.join)
def test_training(command: list[str], folder: Path) -> None:
    recipe, overrides = command[2], command[3:]
    run(*command[:3], *without_what_is_not_at_hand(recipe, overrides), *LITTLE, folder=folder)


@pytest.mark.long
@pytest.mark.parametrize("command", commands("torchrun"), ids=shlex.join)
def test_training_on_several_processes(command: list[str], folder: Path) -> None:
    start = command.index("train") + 2
    here = [word if word != "8" else "2" for word in command[:start]]
    run(*here, *without_what_is_not_at_hand(command[start - 1], command[start:]), *LITTLE, folder=folder)


@pytest.mark.long
def test_what_is_done_with_a_run(tmp_path: Path) -> None:
    """In the README's order; the run goes on to 3 iterations instead of 200."""
    run("mixgrpo", "train", "scenes", *LITTLE, "evaluation.every=1", "--out", "runs/scenes-1", folder=tmp_path)
    tried = [words for name in ("resume", "export", "eval", "sample") for words in commands(f"mixgrpo {name}")]
    assert len(tried) >= 5
    for words in tried:
        run(*[re.sub("^iterations=.*", "iterations=3", word) for word in words], folder=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_examples_in_python(number: int, folder: Path) -> None:
    example = blocks("python")[number].replace("/path/to/a/FluxPipeline", str(tiny.path()))
    example = example.replace('device="cuda"', 'device="cpu"').replace("iterations=20", "iterations=2")
    example = example.replace('"window.size=2"]', '"window.size=2", "model.height=64", "model.width=64"]')
    (folder / f"example{number}.py").write_text(example)
    run(sys.executable, f"example{number}.py", folder=folder)


@pytest.mark.long
def test_sessions_show_what_is_printed(folder: Path) -> None:
    """Plans and refusals word by word, however wide the columns are; a line of dots stands for anything."""
    for session in blocks("console"):
        for turn in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
            line, _, shown = turn.partition("\n")
            words = shlex.split(line.replace(".venv/bin/", ""), comments=True)
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            process = subprocess.Popen(
                words,
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
