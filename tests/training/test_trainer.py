import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mixgrpo.training import checkpoint
from mixgrpo.training.scoring import RewardError
from mixgrpo.training.trainer import Trainer, TrainingStopped
from runs import brightness, small_trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "seconds"}


@pytest.mark.parametrize(("tune", "rate"), [("full", 2e-3), ("lora", 2e-2)])
def test_training_raises_the_reward(tune: str, rate: float) -> None:
    trainer = small_trainer(
        tune=tune, iterations=12, update={"learning_rate": rate, "clip_range": 1e-2}, lora={"rank": 8, "alpha": 16}
    )
    rewards = [trainer.iterate()["rewards"]["brightness"] for _ in range(12)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.005


@pytest.mark.parametrize("credit", ["noise", "picture"])
def test_the_first_ratio_is_one(credit: str) -> None:
    assert small_trainer(credit=credit).iterate()["first_gap"] < 1e-6


def test_credit_by_picture_raises_the_reward_and_is_another_gradient() -> None:
    by_noise, by_picture = (
        small_trainer(iterations=12, credit=credit, update={"learning_rate": 2e-3, "clip_range": 1e-2})
        for credit in ("noise", "picture")
    )
    assert by_noise.iterate()["rewards"] == by_picture.iterate()["rewards"]
    assert not same(weights(by_noise), weights(by_picture))
    rewards = [by_picture.iterate()["rewards"]["brightness"] for _ in range(11)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.005


def test_lora_trains_adapters_only_and_without_them_the_model_is_the_old_one() -> None:
    trainer = small_trainer(tune="lora", lora={"rank": 4, "alpha": 8}, update={"learning_rate": 1e-2, "kl": 0.1})
    assert all("lora" in name for name in trainer.parameters)
    noise = torch.randn(2, *trainer.model.latent_shape, generator=torch.Generator().manual_seed(0))
    told, sigma = trainer.model.encode(["a", "b"]), torch.full((2,), 0.5)
    with torch.no_grad():
        before = trainer.model.velocity(noise, sigma, told)
    kl = [trainer.iterate()["kl"] for _ in range(2)]
    with torch.no_grad():
        after = trainer.model.velocity(noise, sigma, told)
        with trainer.reference() as frozen:
            assert torch.equal(frozen.velocity(noise, sigma, told), before)
    assert not torch.equal(after, before)
    assert kl[0] < 1e-9 < kl[1]


def test_only_the_chosen_weights_are_trained() -> None:
    trainer = small_trainer(tune_only=["*context*", "single_transformer_blocks.*.attn.to_[qk].weight"])
    everything = dict(trainer.model.transformer.named_parameters())
    before = {name: weight.detach().clone() for name, weight in everything.items()}
    trainer.iterate()
    changed = {name for name, weight in everything.items() if not torch.equal(weight, before[name])}
    assert changed == trainer.parameters.keys()
    assert "context_embedder.weight" in changed
    assert "single_transformer_blocks.0.attn.to_q.weight" in changed
    assert all("context" in name or name.endswith(("to_q.weight", "to_k.weight")) for name in changed)


def test_a_choice_that_matches_no_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tune_only = 'attn\.to_q': matches no weight of FluxTransformer2DModel"):
        small_trainer(tune_only=["*context*", "attn.to_q"])


def test_the_average_lags_behind_and_is_put_in_place_only_for_a_while() -> None:
    trainer = small_trainer(update={"learning_rate": 1e-3, "ema": 0.5})
    start = weights(trainer)
    trainer.iterate()
    trained = weights(trainer)
    with trainer.averaged():
        for name, value in weights(trainer).items():
            torch.testing.assert_close(value, (start[name] + trained[name]) / 2)
    assert same(weights(trainer), trained)


@pytest.mark.parametrize("updates", [1, 3])
def test_resuming_is_exact(tmp_path: Path, updates: int) -> None:
    update = {"learning_rate": 1e-3, "clip_range": 1e-2, "updates": updates, "ema": 0.9, "warm_up": 3}
    straight = small_trainer(update=update)
    metrics = [straight.iterate() for _ in range(6)]
    first = small_trainer(update=update)
    for _ in range(3):
        first.iterate()
    checkpoint.save(tmp_path, first.snapshot(), keep=1)
    second = small_trainer(update=update)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    second.restore(checkpoint.load(newest))
    resumed = [second.iterate() for _ in range(3)]
    assert [timeless(line) for line in resumed] == [timeless(line) for line in metrics[3:]]
    assert same(weights(second), weights(straight))
    assert same(second.average, straight.average)


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for processes in (1, 2):
        subprocess.run(
            [*torchrun, f"--nproc-per-node={processes}", "tests/support/runs.py", str(tmp_path)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
        )
    alone, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    assert same(first, second)
    # By how far they moved: Adam turns the rounding of a gradient near zero into a step of its own.
    start = weights(small_trainer())
    moved = sum((alone[name] - start[name]).square().sum().item() for name in alone)
    apart = sum((alone[name] - first[name]).square().sum().item() for name in alone)
    assert apart**0.5 < 0.01 * moved**0.5


def test_groups_of_equal_rewards_teach_nothing() -> None:
    trainer = small_trainer(reward=lambda images, prompts, **metadata: [1.0] * len(images))
    before = weights(trainer)
    metrics = trainer.iterate()
    assert metrics["skipped_groups"] == 3
    assert metrics["grad_norm"] == 0
    assert same(weights(trainer), before)


@pytest.mark.parametrize(("failing", "skipped", "rows"), [({0, 5, 10}, 0, 3 * (1 + 3)), ({0, 1, 2}, 1, 2 * (1 + 4))])
def test_images_without_a_score_are_left_out_of_the_update(failing: set[int], skipped: int, rows: int) -> None:
    """Rows: what the update ran the model on, one state that a group shares and one of each image that counts."""
    pictures: list[bytes] = []

    def blind(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        pictures.extend(image.tobytes() for image in images if len(pictures) < 12)
        values = zip([pictures.index(image.tobytes()) for image in images], brightness(images, prompts), strict=True)
        return [math.nan if number in failing else value for number, value in values]

    rollout = {"prompts": 3, "group_size": 4, "micro_batch": 100}
    trainer = small_trainer(reward=blind, rollout=rollout, scoring={"stop_above": 0.25})
    before = weights(trainer)
    metrics = trainer.iterate()
    assert metrics["failed_scores"] == {"brightness": 3}
    assert (metrics["skipped_groups"], metrics["update_rows"]) == (skipped, rows)
    assert not same(weights(trainer), before)
    assert all(parameter.isfinite().all() for parameter in trainer.parameters.values())


def test_too_many_failed_scores_stop_before_an_update() -> None:
    trainer = small_trainer(reward=lambda images, prompts, **metadata: [math.nan] * len(images))
    before = weights(trainer)
    with pytest.raises(RewardError, match="reward brightness has no score for 12 of 12 images"):
        trainer.iterate()
    assert same(weights(trainer), before)


def test_a_gradient_that_explodes_stops_before_it_touches_the_weights() -> None:
    trainer = small_trainer()
    parameter = next(iter(trainer.parameters.values()))
    parameter.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
    before = weights(trainer)
    with pytest.raises(TrainingStopped, match="gradient's norm is"):
        trainer.iterate()
    assert same(weights(trainer), before)
