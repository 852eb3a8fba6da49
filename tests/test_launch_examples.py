"""The files in examples/launch: well-formed, and what they start is a command that exists. The job script runs."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from mixgrpo.cli.main import app
from mixgrpo.recipe.load import load_recipe
from mixgrpo.runs.folder import RunFolder

LAUNCH = Path(__file__).parents[1] / "examples" / "launch"
BIN = Path(sys.executable).parent


def shell_of(name: str) -> str:
    """What the file has a shell do."""
    if name.endswith(".sh"):
        return (LAUNCH / name).read_text(encoding="utf-8")
    content = YAML(typ="safe").load(LAUNCH / name)
    script = content["run"] if "run" in content else content["spec"]["entrypoint"]
    return f"#!/usr/bin/env bash\n{script}"


FILES = sorted(path.name for path in LAUNCH.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_its_shell_has_no_faults(name: str) -> None:
    checked = subprocess.run([BIN / "shellcheck", "-"], input=shell_of(name), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", FILES)
def test_it_trains_a_recipe_with_options_that_exist(name: str) -> None:
    _, _, words = shell_of(name).replace("\\\n", " ").partition("mixgrpo train ")
    arguments = [word for word in shlex.split(words) if word not in ("$@", "")]
    train: Any = get_command(app).commands["train"]  # type: ignore[attr-defined]
    given = train.make_context("train", arguments).params
    assert given["keep_on"]
    recipe = "flux-dev-hpdv2-80gb" if given["recipe"].startswith("$") else given["recipe"]
    assert load_recipe(recipe, given["overrides"] or []).rollout.prompts == 32


def test_kuberays_job_asks_for_as_many_workers_as_it_has_gpus() -> None:
    job = YAML(typ="safe").load(LAUNCH / "kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert f"--workers {gpus * group['minReplicas']}:{gpus * group['maxReplicas']}" in job["spec"]["entrypoint"]


@pytest.mark.long
def test_slurms_job_runs_and_goes_on(tmp_path: Path) -> None:
    """With stand-ins for SLURM's own commands, on one machine with two processes, twice."""
    (tmp_path / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho localhost\n")
    for command in ("srun", "scontrol"):
        (tmp_path / command).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "2", "SLURM_JOB_ID": "7"}
    environment = {
        **os.environ,
        **slurm,
        "PATH": os.pathsep.join([str(tmp_path), str(BIN), os.environ["PATH"]]),
        "CUDA_VISIBLE_DEVICES": "",
        "RECIPE": "scenes",
        "RUN": str(tmp_path / "run"),
    }
    changes = ["rollout.prompts=2", "rollout.group_size=4", "evaluation.prompts=2", "evaluation.steps=2"]
    for iterations, words in ((1, "Done in"), (2, "continuing from iteration 1; changed: iterations")):
        done = subprocess.run(
            [LAUNCH / "slurm.sh", f"iterations={iterations}", *changes], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert words in done.stdout
    assert len(RunFolder(tmp_path / "run").lines()[0]) == 2
