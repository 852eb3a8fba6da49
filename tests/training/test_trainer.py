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

from mixgrpo.data.prompts import prompts_of
from mixgrpo.runs.checkpoints import Checkpoints
from mixgrpo.training.scoring import RewardError
from mixgrpo.training.weights import TrainingStopped
from runs import brightness, small_trainer, weights


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "seconds"}


@pytest.mark.parametrize(
    ("tuning", "rate"),
    [({"tune": "full"}, 2e-3), ({"tune": "lora", "lora": {"rank": 8, "alpha": 16}}, 2e-2)],
    ids=["full", "lora"],
)
def test_training_raises_the_reward(tuning: dict[str, Any], rate: float) -> None:
    trainer = small_trainer(iterations=12, update={"learning_rate": rate}, **tuning)
    rewards = [trainer.iterate()["rewards"]["brightness"] for _ in range(12)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.005


@pytest.mark.parametrize("objective", ["clipped-ratio", "image-credit"])
def test_the_first_ratio_is_one(objective: str) -> None:
    assert small_trainer(objective={"type": objective}).iterate()["first_ratio_error"] < 1e-6


def test_image_credit_raises_the_reward_along_another_gradient() -> None:
    noise_credit, image_credit = (
        small_trainer(iterations=12, update={"learning_rate": 2e-3}, objective={"type": objective, "clip_range": 1e-2})
        for objective in ("clipped-ratio", "image-credit")
    )
    assert noise_credit.iterate()["rewards"] == image_credit.iterate()["rewards"]
    assert not same(weights(noise_credit), weights(image_credit))
    rewards = [image_credit.iterate()["rewards"]["brightness"] for _ in range(11)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.005


def test_lora_trains_adapters_only_and_the_reference_is_the_model_without_them() -> None:
    trainer = small_trainer(
        tune="lora",
        lora={"rank": 4, "alpha": 8},
        update={"learning_rate": 1e-2},
        objective={"kl_weight": 0.1},
    )
    assert all("lora" in name for name in trainer.policy.weights.parameters)
    noise = torch.randn(2, *trainer.model.latent_shape, generator=torch.Generator().manual_seed(0))
    conditioning, sigma = trainer.model.encode(prompts_of(["a", "b"])), torch.full((2,), 0.5)
    with torch.no_grad():
        before = trainer.model.velocity(noise, sigma, conditioning)
    kl = [trainer.iterate()["kl"] for _ in range(2)]
    with torch.no_grad():
        after = trainer.model.velocity(noise, sigma, conditioning)
        reference = trainer.policy.reference
        assert reference is not None
        with reference() as frozen:
            assert torch.equal(frozen.velocity(noise, sigma, conditioning), before)
    assert not torch.equal(after, before)
    assert kl[0] < 1e-9 < kl[1]


def test_a_strong_kl_holds_the_policy_back() -> None:
    """The KL of the second iteration and later, with the same seed."""

    def last_kl(weight: float) -> float:
        trainer = small_trainer(update={"learning_rate": 2e-3}, objective={"kl_weight": weight})
        return float([trainer.iterate()["kl"] for _ in range(5)][-1])

    assert last_kl(1000.0) < 0.5 * last_kl(1e-6)


def test_only_the_chosen_weights_are_trained() -> None:
    trainer = small_trainer(tune_only=["*context*", "single_transformer_blocks.*.attn.to_[qk].weight"])
    everything = dict(trainer.model.networks["transformer"].named_parameters())
    before = {name: weight.detach().clone() for name, weight in everything.items()}
    trainer.iterate()
    changed = {name for name, weight in everything.items() if not torch.equal(weight, before[name])}
    assert changed == trainer.policy.weights.parameters.keys()
    assert "context_embedder.weight" in changed
    assert "single_transformer_blocks.0.attn.to_q.weight" in changed
    assert all("context" in name or name.endswith(("to_q.weight", "to_k.weight")) for name in changed)


def test_a_pattern_that_matches_no_weight_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tune_only = 'attn\.to_q': matches no weight"):
        small_trainer(tune_only=["*context*", "attn.to_q"])


@pytest.mark.parametrize(("minibatches", "revisited"), [(1, 0.0), (3, 0.5)])
def test_resuming_is_exact(tmp_path: Path, minibatches: int, revisited: float) -> None:
    rollout = {"prompts": 3, "group_size": 4, "micro_batch": 5, "revisited": revisited}
    update = {"learning_rate": 1e-3, "minibatches": minibatches, "ema_decay": 0.9, "warmup_iterations": 3}
    straight = small_trainer(update=update, rollout=rollout)
    metrics = [straight.iterate() for _ in range(6)]
    first = small_trainer(update=update, rollout=rollout)
    for _ in range(3):
        first.iterate()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(first.snapshot(), {}, keep=1)
    second = small_trainer(update=update, rollout=rollout)
    newest = checkpoints.newest().iteration
    assert newest is not None
    second.restore(checkpoints.load(newest, second.room))
    resumed = [second.iterate() for _ in range(3)]
    assert [timeless(line) for line in resumed] == [timeless(line) for line in metrics[3:]]
    assert same(weights(second), weights(straight))
    assert same(second.policy.weights.average, straight.policy.weights.average)
    assert second.tried == straight.tried


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for processes in (1, 2):
        subprocess.run(
            [*torchrun, f"--nproc-per-node={processes}", "tests/support/runs.py", str(tmp_path)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
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


def test_groups_of_equal_rewards_are_skipped() -> None:
    trainer = small_trainer(reward=lambda images, prompts, **metadata: [1.0] * len(images))
    before = weights(trainer)
    metrics = trainer.iterate()
    assert metrics["skipped_groups"] == 3
    assert metrics["grad_norm"] == 0
    assert same(weights(trainer), before)


def test_images_of_skipped_groups_count_in_the_mean() -> None:
    """Two prompts, of which one has equal rewards, give half the gradient of the other prompt alone."""

    def only_circles(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        return [
            value if "circle" in prompt else 0.5
            for value, prompt in zip(brightness(images, prompts), prompts, strict=True)
        ]

    def grad_norm(prompts: list[str]) -> float:
        trainer = small_trainer(
            reward=only_circles, rollout={"prompts": len(prompts), "group_size": 4, "micro_batch": 8}
        )
        k = 0
        generation = trainer.generate(k, trainer.plan_at(k), prompts_of(prompts), range(len(prompts)))
        scores = {name: values.view(len(prompts), -1) for name, values in trainer.scorer.collect().values.items()}
        _, norms = trainer.update(k, generation, trainer.signal(scores, range(len(scores["brightness"]))))
        return norms[0]

    assert grad_norm(["a red circle", "CAT"]) == pytest.approx(grad_norm(["a red circle"]) / 2, rel=1e-3)


@pytest.mark.parametrize(("failing", "skipped", "rows"), [({0, 5, 10}, 0, 3 * (1 + 3)), ({0, 1, 2}, 1, 2 * (1 + 4))])
def test_images_without_a_score_are_left_out_of_the_update(failing: set[int], skipped: int, rows: int) -> None:
    """Rows of the update: one state that a group shares, and one of each image that has an advantage."""
    pictures: list[bytes] = []

    def blind(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        pictures.extend(image.tobytes() for image in images if len(pictures) < 12)
        values = zip([pictures.index(image.tobytes()) for image in images], brightness(images, prompts), strict=True)
        return [math.nan if number in failing else value for number, value in values]

    rollout = {"prompts": 3, "group_size": 4, "micro_batch": 100}
    trainer = small_trainer(reward=blind, rollout=rollout, scoring={"max_failed_fraction": 0.25})
    before = weights(trainer)
    metrics = trainer.iterate()
    assert metrics["failed_scores"] == {"brightness": 3}
    assert (metrics["skipped_groups"], metrics["update_rows"]) == (skipped, rows)
    assert not same(weights(trainer), before)
    assert all(parameter.isfinite().all() for parameter in weights(trainer).values())


def test_too_many_failed_scores_stop_before_an_update() -> None:
    trainer = small_trainer(reward=lambda images, prompts, **metadata: [math.nan] * len(images))
    before = weights(trainer)
    with pytest.raises(RewardError, match="reward brightness has no score for 12 of 12 images"):
        trainer.iterate()
    assert same(weights(trainer), before)


def test_a_gradient_that_is_not_finite_stops_before_it_touches_the_weights() -> None:
    trainer = small_trainer()
    parameter = next(iter(trainer.policy.weights.parameters.values()))
    parameter.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
    before = weights(trainer)
    with pytest.raises(TrainingStopped, match="iteration 0, optimizer step 1 of 1: the norm of the gradient is"):
        trainer.iterate()
    assert same(weights(trainer), before)


def test_rewards_are_weighted_and_weight_zero_is_only_observed() -> None:
    def norm(**rewards: float) -> float:
        trainer = small_trainer(rewards={"brightness": 1.0, **rewards})
        return float(trainer.iterate()["grad_norm"])

    assert norm(second=0.0) == pytest.approx(norm(), rel=1e-6)
    assert norm(second=1.0) == pytest.approx(2 * norm(), rel=1e-3)


def test_advantages_are_clipped_as_the_recipe_says() -> None:
    wide, narrow = (small_trainer(advantage={"clip": clip}).iterate()["grad_norm"] for clip in (5.0, 1e-3))
    assert narrow < 1e-2 * wide


def test_another_recipe_may_train_the_same_policy() -> None:
    trainer = small_trainer()
    other = trainer.with_recipe(trainer.recipe.model_copy(update={"seed": 7}))
    before = weights(trainer)
    assert other.iterate()["iteration"] == 0
    assert not same(weights(trainer), before)
    assert trainer.iteration == 0
    assert trainer.recipe.seed == 0


def test_a_policy_is_trained_with_the_settings_it_was_made_from() -> None:
    trainer = small_trainer()

    def changed(**sections: Any) -> Any:
        return trainer.recipe.model_validate({**trainer.recipe.model_dump(), **sections})

    with pytest.raises(ValueError, match="needs a reference model"):
        trainer.with_recipe(changed(objective={"clip_range": 1e-2, "kl_weight": 1.0}))
    for sections in (
        {"update": {"betas": [0.5, 0.9]}},
        {"tune_only": ["*context*"]},
        {"speed": {"channels_last": False}},
    ):
        with pytest.raises(ValueError, match="in settings of the model, its weights or the optimizer"):
            trainer.with_recipe(changed(**sections))
    assert trainer.with_recipe(changed(update={"learning_rate": 0.5})).learning_rate(0) == 0.5


def test_the_first_ratio_error_is_that_before_the_first_optimizer_step() -> None:
    """The later mini-batches of the same iteration have moved far from ratio 1."""
    metrics = small_trainer(update={"learning_rate": 1e-2, "minibatches": 3}).iterate()
    assert metrics["first_ratio_error"] < 1e-6 < 1e-4 < metrics["ratio_deviation"]


def test_iterations_draw_from_noise_of_their_own_and_a_seed_repeats_them() -> None:
    trainer = small_trainer()
    first, again, second = (trainer.noise_at(k).initial(0, 0) for k in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_the_loss_is_a_mean_over_images_and_terms() -> None:
    """The gradient of a batch and of the same batch in larger groups are of the same size; a sum would grow."""
    small, large = (
        small_trainer(rollout={"prompts": 3, "group_size": size, "micro_batch": 64}).iterate()["grad_norm"]
        for size in (4, 16)
    )
    assert large < 2 * small


def test_a_reward_that_fails_stops_the_drawing() -> None:
    calls: list[int] = []

    def broken(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        calls.append(len(images))
        raise ValueError("broken")

    rollout = {"prompts": 3, "group_size": 8, "micro_batch": 1}
    trainer = small_trainer(reward=broken, rollout=rollout, scoring={"retries": 0}, speed={"overlap_rewards": False})
    with pytest.raises(RewardError, match="broken"):
        trainer.iterate()
    assert calls == [1]
