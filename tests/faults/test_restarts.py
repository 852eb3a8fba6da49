"""A run goes on by itself when it loses a process, and ends as if it had not."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from comparing import differences
from launching import ITERATIONS, environment, finished, free_port, small_run, torchrun

from mixgrpo.bench import namespaces

BIN = Path(sys.executable).parent

# The process of rank 1 ends itself, as by the system when memory runs out, in the middle of an iteration.
REWARD = """
import os, signal
import numpy

def score(images, prompts):
    asked = "{folder}/lose a process"
    if os.environ.get("RANK") == "1" and len(set(prompts)) < len(prompts) and os.path.exists(asked):
        os.remove(asked)
        os.kill(os.getpid(), signal.SIGKILL)
    return [float(numpy.asarray(image).mean()) / 255 for image in images]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the reward, and a run of two processes that nothing happened to."""
    path = tmp_path_factory.mktemp("runs")
    (path / "own.py").write_text(REWARD.format(folder=path))
    finished(2, small_run(path / "straight"))
    return path


def start(command: Sequence[str], cwd: Path | None = None, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), **variables},
        cwd=cwd,
    )


def wait_for_two_iterations(run: Path) -> None:
    end = time.monotonic() + 150
    while not (run / "checkpoints" / "000002").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def lose_a_process(folder: Path, run: Path) -> None:
    wait_for_two_iterations(run)
    (folder / "lose a process").touch()


def assert_went_on(process: "subprocess.Popen[str]", folder: Path, run: Path) -> str:
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "continuing from iteration" in said
    assert not (folder / "lose a process").exists()
    assert differences(folder / "straight", run) == []
    return said


@pytest.mark.long
def test_under_torchrun(folder: Path) -> None:
    run = folder / "torchrun"
    options = ["--nproc-per-node=2", f"--master-port={free_port()}", "--max-restarts=1"]
    process = start([*torchrun(*options), *small_run(run)])
    lose_a_process(folder, run)
    assert_went_on(process, folder, run)


@pytest.fixture
def cluster() -> Iterator[str]:
    """A Ray cluster of this machine, and its address."""
    address = f"127.0.0.1:{free_port()}"
    options = ["--head", "--num-cpus=2", f"--port={address.partition(':')[2]}", "--include-dashboard=false"]
    # Of its own, and with a short name: `--ray` alone looks there for a cluster, and sockets have short names.
    with TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as own:
        command = [str(BIN / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", *options]
        process = start(command, RAY_TMPDIR=own)
        assert process.stdout is not None
        assert any("Ray runtime started" in line for line in process.stdout)
        yield address
        process.terminate()
        process.wait(90)  # it takes up to 30 seconds for what it has begun


@pytest.mark.long
def test_on_ray(folder: Path, cluster: str) -> None:
    run = folder / "ray"
    command = [sys.executable, "-m", "mixgrpo", *small_run(run)]
    process = start([*command, "--ray", cluster, "--workers", "2", "--restarts", "1"])
    lose_a_process(folder, run)
    assert_went_on(process, folder, run)
    wrong = start([*command, "--ray", cluster, "--workers", "3"])
    assert "holds a run already" in wrong.communicate(timeout=60)[0]
    many = start([*command[:-1], str(folder / "many"), "--ray", cluster, "--workers", "3"])
    assert "--workers 3: the cluster has 2 CPUs" in many.communicate(timeout=60)[0]
    assert not (folder / "many").exists()


@pytest.mark.long
def test_with_fewer_machines(folder: Path) -> None:
    """Two agents of torchrun, of which one is lost with its worker: the other goes on alone."""
    run, endpoint = folder / "elastic", f"127.0.0.1:{free_port()}"
    elastic = ["--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d"]
    elastic += [f"--rdzv-endpoint={endpoint}", "--rdzv-id=elastic", "--rdzv-conf=last_call_timeout=15"]
    first = start([*torchrun(*elastic), *small_run(run)])
    time.sleep(3)  # whoever comes first keeps the list of agents
    second = subprocess.Popen(
        [*torchrun(*elastic), *small_run(run)], stdout=subprocess.DEVNULL, env=environment(), start_new_session=True
    )
    wait_for_two_iterations(run)
    for child in subprocess.run(["pgrep", "-P", str(second.pid)], capture_output=True, text=True).stdout.split():
        os.kill(int(child), signal.SIGKILL)
    second.kill()
    said, _ = first.communicate(timeout=300)
    assert first.returncode == 0, said
    assert ", with 1 process instead of 2" in said
    assert f"{ITERATIONS}/{ITERATIONS}" in said


@pytest.mark.long
@pytest.mark.skipif(not namespaces.possible(), reason="only root can make network namespaces")
def test_on_two_machines_with_addresses_of_their_own(folder: Path) -> None:
    run = folder / "machines"
    with namespaces.machines(2) as names:
        options = ["--nnodes=2", "--nproc-per-node=1", f"--master-addr={namespaces.address(0)}"]
        processes = [
            start(
                namespaces.on(name, [*torchrun(*options, f"--node-rank={number}"), *small_run(run)]),
                GLOO_SOCKET_IFNAME=namespaces.DEVICE,
            )
            for number, name in enumerate(names)
        ]
        said = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert differences(folder / "straight", run) == []


@pytest.mark.long
def test_machines_that_share_no_disk_are_refused(folder: Path) -> None:
    """Two nodes with folders of their own of the same name."""
    port = free_port()
    processes = []
    for number in range(2):
        own = folder / f"machine {number}"
        own.mkdir()
        options = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={number}", f"--master-port={port}"]
        arguments = small_run(folder / "unshared")[:-1]
        processes.append(start([*torchrun(*options, "--master-addr=127.0.0.1"), *arguments, "run"], cwd=own))
    said = "".join(process.communicate(timeout=100)[0] for process in processes)
    assert all(process.returncode for process in processes)
    assert said.count("must be on a disk that all machines share") == 1, said
    assert not any(own.exists() for own in folder.glob("machine */run"))
    shutil.rmtree(folder / "machine 0")
