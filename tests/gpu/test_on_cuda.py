"""What only a GPU can show: its kernels, its fused optimizer, its memory, its collectives. Nothing is downloaded."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_trainers import trainer_on

from mixgrpo.data.prompts import prompts_of
from mixgrpo.parallel import distributed, sharding
from mixgrpo.runs.preflight import preflight
from mixgrpo.training.generation import images_of
from mixgrpo.training.snapshot import Snapshot
from mixgrpo.training.trainer import Trainer
from runs import PROMPTS, weights


@pytest.fixture
def device() -> torch.device:
    own = distributed.device()
    if own.type != "cuda":
        pytest.skip("there is no GPU")
    return own


def image_of(trainer: Trainer) -> torch.Tensor:
    noise = trainer.noise_at(0)
    ((_, image),) = images_of(trainer.model, trainer.encode, trainer.prompts[:1], noise, steps=4, micro_batch=1)
    return image.cpu()


def test_it_draws_what_the_cpu_draws(device: torch.device) -> None:
    expected, image = image_of(trainer_on(torch.device("cpu"))), image_of(trainer_on(device))
    torch.testing.assert_close(image, expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize("tune", ["full", "lora"])
@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 1e-5), ("bfloat16", 1e-3)])
def test_the_first_ratio_is_one(device: torch.device, dtype: str, allowed: float, tune: str) -> None:
    """In model calls of equal size, as rounding depends on it."""
    rollout = {"prompts": 2, "group_size": 4, "micro_batch": 8}
    trainer = trainer_on(device, dtype, tune=tune, rollout=rollout, speed={"share_computation": False})
    for _ in range(3):
        assert trainer.iterate()["first_ratio_error"] < allowed


@pytest.mark.parametrize("fused", [True, False])
def test_resuming_is_exact(device: torch.device, fused: bool) -> None:
    settings: dict[str, Any] = {
        "update": {"learning_rate": 1e-3, "minibatches": 2, "ema_decay": 0.9},
        "speed": {"fused_optimizer": fused},
    }
    straight, first, second = (trainer_on(device, **settings) for _ in range(3))
    for _ in range(4):
        straight.iterate()
    for _ in range(2):
        first.iterate()
    saved = first.snapshot()
    second.restore(Snapshot(saved.iteration, {name: tensor.cpu() for name, tensor in saved.tensors.items()}))
    for _ in range(2):
        second.iterate()
    resumed = weights(second)
    for name, weight in weights(straight).items():
        assert torch.equal(weight, resumed[name]), name


def test_a_compiled_model_trains(device: torch.device) -> None:
    plain, compiled = (trainer_on(device, speed={"compile": compile}) for compile in (False, True))
    expected, got = plain.iterate(), compiled.iterate()
    assert got["rewards"]["brightness"] == pytest.approx(expected["rewards"]["brightness"], abs=1e-3)
    assert got["first_ratio_error"] < 1e-3


def test_cached_texts_train_the_same(device: torch.device, tmp_path: Path) -> None:
    expected = trainer_on(device).iterate()["rewards"]["brightness"]
    for _ in range(2):
        trainer = trainer_on(device, speed={"text_cache": str(tmp_path)})
        assert trainer.iterate()["rewards"]["brightness"] == pytest.approx(expected, abs=1e-3)


def test_the_preflight_passes_and_knows_the_peak(device: torch.device) -> None:
    trainer = trainer_on(device, objective={"kl_weight": 0.1, "clip_range": 1e-2}, update={"learning_rate": 1e-3})
    before = torch.cuda.memory_allocated(device)
    found = {finding.what: finding for finding in preflight(trainer, prompts_of(PROMPTS))}
    assert all(finding.ok for finding in found.values()), found
    assert "peak" in found["a full micro-batch fits"].detail
    assert torch.cuda.max_memory_allocated(device) < 2**30
    assert torch.cuda.memory_allocated(device) - before < 2**24


def test_two_processes_train_one_model() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there are not two GPUs")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = str(Path(__file__).with_name("two_processes.py"))
    done = subprocess.run([*torchrun, script], capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_offloaded_shares_train_as_weights_on_the_device(device: torch.device, tune: str) -> None:
    settings: dict[str, Any] = {"tune": tune, "update": {"learning_rate": 1e-3, "ema_decay": 0.9}}
    plain = trainer_on(device, **settings)
    offloaded = trainer_on(device, parallel={"offload": True}, **settings)
    try:
        for _ in range(2):
            expected, got = plain.iterate(), offloaded.iterate()
            assert got["rewards"]["brightness"] == pytest.approx(expected["rewards"]["brightness"], abs=1e-3)
            assert got["grad_norm"] == pytest.approx(expected["grad_norm"], rel=2e-2)
        shares = [sharding.local(parameter) for parameter in offloaded.policy.weights.parameters.values()]
        assert {share.device.type for share in shares} == {"cpu"}
        saved = offloaded.snapshot()
        offloaded.restore(saved)
        offloaded.iterate()
    finally:
        distributed.stop()
