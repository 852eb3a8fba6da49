"""Whole runs as a user starts them: real processes, the model that ships, real signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from PIL import Image
from typer.testing import CliRunner

import pipelines
from mixgrpo.cli.main import app
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import adapt
from mixgrpo.runs.checkpoints import Checkpoints
from mixgrpo.runs.export import export, export_run
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.tuned import hybrid, load_tuned
from runs import small_trainer

REWARD = """
import numpy

def brightness(images, prompts, **metadata):
    return [float(numpy.asarray(image).mean()) / 255 for image in images]
"""

HANGING = """
import time

def score(images, prompts):
    print("asleep", flush=True)
    time.sleep(100)
"""

SMALL = [
    "iterations=4",
    "rollout.prompts=2",
    "rollout.group_size=4",
    "rollout.micro_batch=8",
    "evaluation.prompts=14",
    "evaluation.steps=4",
    "save.every=1",
]


def command(name: str, *arguments: str) -> list[str]:
    alone = ["--processes", "1"] if name in ("train", "resume") else []
    return [sys.executable, "-m", "mixgrpo", name, *arguments, *alone]


def mixgrpo(*arguments: str, code: int = 0) -> str:
    """In a process of its own, as a user runs it."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert code or not done.stderr, done.stderr  # libraries are quiet about what is as it should be
    return done.stdout if code == 0 else done.stderr


def mixgrpo_here(*arguments: str, code: int = 0) -> str:
    """In this process, which saves ten seconds of imports."""
    done = CliRunner().invoke(app, command(*arguments)[3:])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in RunFolder(folder).lines()[0]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A reward from a user's own file, and little of everything: what to start `train` with."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "own.py").write_text(REWARD)
    return [*SMALL, f'rewards={{"{folder}/own.py:brightness": 1.0, scenes: 0.0}}']


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "straight"
    shown = mixgrpo("train", *small, "--out", str(folder))
    assert "preflight  ok" in shown
    assert "   4/4" in shown
    assert f"mixgrpo eval {folder}" in shown
    return folder


def test_a_run_leaves_everything_worth_keeping(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"recipe.yaml", "environment.json", "metrics.jsonl", "samples", "checkpoints", "transformer"} <= names
    assert [line["iteration"] for line in metrics(finished)] == [0, 1, 2, 3]
    assert {path.name for path in (finished / "samples").iterdir()} == {"000000.png", "000004.png"}
    assert (finished / "checkpoints" / "latest").resolve().name == "000004"
    assert (best := RunFolder(finished).best()) is not None
    evaluations = [json.loads(path.read_text())["rewards"] for path in finished.glob("evaluation-*.json")]
    trained = next(name for name in evaluations[0] if name.endswith("own.py:brightness"))
    assert best.value in [rewards[trained]["overall"] for rewards in evaluations]


def test_a_second_run_in_the_same_folder_is_refused(finished: Path) -> None:
    assert f"mixgrpo resume {finished}" in mixgrpo_here("train", "--out", str(finished), code=1)


def test_eval_compares_before_and_after_from_the_same_noise(finished: Path) -> None:
    result = json.loads(mixgrpo_here("eval", str(finished), "--prompts", "7", "--json", "--processes", "1"))
    overall = result["rewards"]["scenes"]["overall"]
    assert overall["gain"]["count"] == 7
    assert overall["gain"]["mean"] == pytest.approx(overall["tuned"]["mean"] - overall["base"]["mean"], abs=1e-6)
    assert Image.open(result["pictures"]).width == 4 * (2 * 128 + 4) + 5 * 14  # four columns of two pictures


@pytest.mark.long
def test_eval_by_two_processes_is_the_same(finished: Path) -> None:
    alone = json.loads(mixgrpo_here("eval", str(finished), "--prompts", "7", "--json", "--processes", "1"))
    shared = json.loads(mixgrpo("eval", str(finished), "--prompts", "7", "--json", "--processes", "2"))
    for column in ("base", "tuned"):
        one, other = (result["rewards"]["scenes"]["overall"][column]["mean"] for result in (alone, shared))
        assert one == pytest.approx(other, abs=1e-2)


def test_sample_writes_a_picture_a_prompt(finished: Path, tmp_path: Path) -> None:
    mixgrpo_here("sample", str(finished), "a red star", "two circles", "--out", str(tmp_path), "--steps", "4")
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["000-a-red-star.png", "001-two-circles.png"]


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_an_interrupted_run_resumes_exactly(
    finished: Path, small: list[str], tmp_path: Path, sent: signal.Signals
) -> None:
    """Asked to stop during its second iteration, it finishes that one, saves, and says how to go on. Killed, it
    leaves the last checkpoint.
    """
    folder = tmp_path / "interrupted"
    process = subprocess.Popen(
        command("train", *small, "--out", str(folder)),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    shown: list[str] = []
    for line in process.stdout:
        if line.startswith("   1/4"):
            process.send_signal(sent)
        shown.append(line)
    if sent == signal.SIGTERM:
        assert process.wait() == 0
        assert f"mixgrpo resume {folder}" in shown[-2]
        assert f"mixgrpo export {folder}" in shown[-1]
        assert "stopping after this iteration; a second signal stops at once\n" in shown
    else:
        assert process.wait() == -signal.SIGKILL
    done = len(metrics(folder))
    assert 1 <= done < 4
    if sent == signal.SIGTERM:
        assert mixgrpo_here("export", str(folder)).strip() == str(folder / "transformer")
        mixgrpo_here("sample", str(folder), "a star", "--steps", "2", "--out", str(tmp_path / "samples"))
        shutil.rmtree(folder / "transformer")
    resumed = mixgrpo("resume", str(folder))
    assert f"continuing from iteration {done}" in resumed or sent == signal.SIGKILL
    assert metrics(folder) == metrics(finished)
    first, second = (Checkpoints(path / "checkpoints").load(4).tensors for path in (finished, folder))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "launch",
    [
        pytest.param(["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"], marks=pytest.mark.long),
        [],
    ],
)
def test_two_processes_make_one_run(finished: Path, small: list[str], tmp_path: Path, launch: list[str]) -> None:
    """Under torchrun or by themselves: one folder, the same prompts and noise, a share of the work each."""
    by_themselves = [] if launch else ["--processes", "2"]
    run = [sys.executable, "-m", *launch, "mixgrpo", "train", *small, "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*run, *by_themselves], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("   4/4") == 1
    alone, shared = metrics(finished)[0], metrics(tmp_path / "run")[0]
    assert shared["rewards"] == pytest.approx(alone["rewards"], abs=1e-3)
    assert shared["update_rows"] == alone["update_rows"]
    evaluations = [json.loads((path / "evaluation-000000.json").read_text()) for path in (finished, tmp_path / "run")]
    for name in ("scenes", "diversity"):
        assert evaluations[1]["rewards"][name] == pytest.approx(evaluations[0]["rewards"][name], abs=1e-2)
    assert 0.01 < evaluations[0]["rewards"]["diversity"]["overall"] < 1


def test_a_lora_result_loads_into_a_plain_pipeline(tmp_path: Path) -> None:
    pipelines.flux().save_pretrained(tmp_path / "model")
    model = {"path": str(tmp_path / "model"), "dtype": "float32", "height": 32, "width": 24, "guidance_scale": 3.5}
    trainer = small_trainer(tune="lora", lora={"rank": 4, "alpha": 8}, update={"learning_rate": 1e-2}, model=model)
    for _ in range(2):
        trainer.iterate()
    folder = RunFolder(tmp_path / "run")
    folder.create(trainer.recipe)
    with trainer.policy.weights.averaged():
        export(trainer.model, folder, lora=True)
    plain = FluxPipeline.from_pretrained(tmp_path / "model")
    base = adapt(plain, 32, 24, 3.5, 48)
    x, sigma = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0)), torch.full((2,), 0.6)
    conditioning = base.encode(prompts_of(["a", "b"]))
    with torch.no_grad():
        before = base.velocity(x, sigma, conditioning)
        plain.load_lora_weights(folder.lora)
        after, trained = base.velocity(x, sigma, conditioning), trainer.model.velocity(x, sigma, conditioning)
        torch.testing.assert_close(after, trained, atol=1e-5, rtol=1e-5)
        assert (after - before).norm() > 1e-3 * before.norm()

        tuned = load_tuned(folder.path, torch.device("cpu"))
        mixed = hybrid(tuned, 0.5, 4)
        early, late = (torch.full((2,), sigma) for sigma in tuned.model.grid(4).sigmas[1:3])
        conditioning = tuned.model.encode(prompts_of(["a", "b"]))
        assert torch.equal(mixed.velocity(x, early, conditioning), tuned.model.velocity(x, early, conditioning))
        with tuned.base() as original:
            base_only = original.velocity(x, late, conditioning)
        assert torch.equal(mixed.velocity(x, late, conditioning), base_only)


def test_a_finished_run_goes_on_with_more_iterations_and_another_rate(finished: Path, tmp_path: Path) -> None:
    """And says by another reward, a lower one, which checkpoint is the best."""
    run = tmp_path / "longer"
    shutil.copytree(finished, run, symlinks=True)
    best_before = RunFolder(run).best()
    shown = mixgrpo_here("resume", str(run), "iterations=5", "update.learning_rate=1e-5", "evaluation.best=scenes")
    assert "continuing from iteration 4" in shown
    assert "changed: iterations, update.learning_rate, evaluation.best" in shown
    best = RunFolder(run).best()
    assert best is not None
    assert best_before is not None
    assert best_before.by != best.by == {"scenes": 1.0}
    assert best.iteration == 5
    assert [line["iteration"] for line in metrics(run)] == [0, 1, 2, 3, 4]
    assert RunFolder(run).load_recipe().iterations == 5
    assert "seed: cannot change in a run that has begun" in mixgrpo_here("resume", str(run), "seed=9", code=1)


def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "damaged"
    shutil.copytree(finished, run, symlinks=True)
    (state,) = (run / "checkpoints" / "000004").glob("*.safetensors")
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    (run / "checkpoints" / "latest").unlink()
    shown = mixgrpo_here("resume", str(run))
    assert "000004/shard-00001-model-00001-of-00001.safetensors is damaged" in shown
    assert "continuing from iteration 3" in shown
    assert metrics(run) == metrics(finished)


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_an_exported_checkpoint_draws_what_the_trainer_drew(tmp_path: Path, tune: str) -> None:
    pipelines.flux().save_pretrained(tmp_path / "model")
    model = {"path": str(tmp_path / "model"), "dtype": "float32", "height": 32, "width": 24, "guidance_scale": 3.5}
    trainer = small_trainer(tune=tune, update={"learning_rate": 1e-2, "ema_decay": 0.5}, model=model)
    folder = RunFolder(tmp_path / "run")
    folder.create(trainer.recipe)
    for _ in range(2):
        trainer.iterate()
        folder.checkpoints.save(trainer.snapshot(), trainer.recipe.model_dump(mode="json"), keep=5)
    x, sigma = torch.randn(2, *trainer.model.latent_shape), torch.full((2,), 0.6)
    conditioning = trainer.model.encode(prompts_of(["a", "b"]))
    with torch.no_grad(), trainer.policy.weights.averaged():
        expected = trainer.model.velocity(x, sigma, conditioning)
    for merge in (False, True) if tune == "lora" else (False,):
        (path,) = export_run(folder.path, "last", merge=merge)
        plain = FluxPipeline.from_pretrained(tmp_path / "model")
        if path.name == "lora":
            plain.load_lora_weights(path)
        else:
            plain.transformer = FluxTransformer2DModel.from_pretrained(path)
        with torch.no_grad():
            drawn = adapt(plain, 32, 24, 3.5, 48).velocity(x, sigma, conditioning)
        torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=1e-5)
        assert path.stat().st_mode & 0o044 == 0o044
    before, after = (export_run(folder.path, name)[0] for name in ("1", "2"))
    assert before == after
    with pytest.raises(ValueError, match="--checkpoint 7: must be last, best or one of 1, 2"):
        export_run(folder.path, "7")
    with pytest.raises(ValueError, match="has not been evaluated during training"):
        export_run(folder.path, "best")


def test_a_second_signal_ends_a_run_whose_reward_hangs(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(HANGING)
    process = subprocess.Popen(
        command("train", *SMALL, f'rewards={{"{tmp_path}/slow.py:score": 1.0}}', "--out", str(tmp_path / "run")),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "asleep\n":
            process.send_signal(signal.SIGINT)
        if line.startswith("stopping before the first iteration"):
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130  # long before the reward is done
