"""What the preflight finds, in addition to what whole runs show."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mixgrpo.data.prompts import prompts_of
from mixgrpo.data.sources import train_prompts
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.flux import FLUX
from mixgrpo.models.load import load_model
from mixgrpo.recipe.load import load_recipe
from mixgrpo.rewards.networks.network_reward import NetworkReward
from mixgrpo.runs.preflight import preflight, slow_precision, waiting_processes
from mixgrpo.training.policy import make_policy
from mixgrpo.training.scoring import RewardError
from mixgrpo.training.trainer import Trainer
from runs import PROMPTS, brightness, small_trainer, weights

EVALUATED_ON = prompts_of(PROMPTS)


class Brightness(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2**28, dtype=torch.bfloat16, device="meta"))  # half a GiB, on paper

    def to(self, device: torch.device) -> "Brightness":  # type: ignore[override]
        return self

    def forward(self, images: list[Image.Image], prompts: list[str]) -> Tensor:
        return torch.tensor(brightness(images, prompts))


def test_it_says_where_a_reward_network_is_and_how_large() -> None:
    reward = NetworkReward("brightness", lambda dtype: Brightness(), device="cpu", dtype="bfloat16", batch=8)
    details = {finding.what: finding.detail for finding in preflight(small_trainer(reward), EVALUATED_ON)}
    assert details["reward networks are loaded"] == "brightness 0.5 GiB on cpu"


def test_it_leaves_the_weights_as_they_were() -> None:
    trainer = small_trainer(update={"learning_rate": 1e-2, "ema_decay": 0.5})
    before = weights(trainer)
    assert all(finding.ok for finding in preflight(trainer, EVALUATED_ON))
    after, average = weights(trainer), trainer.policy.weights.average
    assert all(torch.equal(before[name], after[name]) and torch.equal(before[name], average[name]) for name in before)
    assert trainer.iteration == 0


def test_an_evaluation_prompt_that_a_reward_cannot_score_is_found_at_once() -> None:
    def strict(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        if "a dragon" in prompts:
            raise KeyError("dragon")
        return brightness(images, prompts)

    with pytest.raises(RewardError, match="the first for 'a dragon': KeyError"):
        [*preflight(small_trainer(strict), prompts_of(["a dragon"]))]


def test_equal_rewards_fail() -> None:
    found = [*preflight(small_trainer(lambda images, prompts: [0.5] * len(images)), EVALUATED_ON)]
    assert [finding.what for finding in found if not finding.ok] == [
        "rewards differ within groups",
        "an update changes the model",
    ]


def test_prompts_whose_rewards_are_equal_are_followed_by_others() -> None:
    seen: list[str] = []

    def equal_for_the_first(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        seen.extend(dict.fromkeys(prompts))
        scores = brightness(images, prompts)
        return [0.5 if prompt == seen[0] else score for prompt, score in zip(prompts, scores, strict=True)]

    trainer = small_trainer(equal_for_the_first, rollout={"prompts": 1, "group_size": 4, "micro_batch": 4})
    assert all(finding.ok for finding in preflight(trainer, EVALUATED_ON))
    assert trainer.iteration == 0
    assert not trainer.tried.spread


def too_fast(velocity: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A mistake of a tenth."""
    return lambda *arguments: 1.1 * velocity(*arguments)


@pytest.mark.parametrize(("mistaken", "ok"), [(False, True), (True, False)])
def test_rounding_may_change_one_image_but_a_mistake_changes_all(mistaken: bool, ok: bool) -> None:
    """In bfloat16 one in six images of the model that ships differs from the stock pipeline's; with this seed, the
    first does.
    """
    recipe = load_recipe("scenes", ["seed=2", "model.dtype=bfloat16"])
    prompts = train_prompts("scenes", recipe.seed, recipe.iterations * recipe.rollout.prompts)
    adapter = replace(FLUX, velocity=too_fast(FLUX.velocity)) if mistaken else FLUX
    model = PipelineModel(adapter, load_model(recipe.model).pipeline, 64, 64, 3.5, 16)
    trainer = Trainer(recipe, make_policy(model, recipe), {}, prompts)
    found = next(finding for finding in preflight(trainer, EVALUATED_ON) if "stock" in finding.what)
    assert found.ok == ok, found.detail


@pytest.mark.parametrize(
    ("dtype", "capability", "words"),
    [("bfloat16", "AVX2", "no units for bfloat16"), ("bfloat16", "AVX512", None), ("float32", "AVX2", None)],
)
def test_bfloat16_on_a_cpu_without_units_for_it_is_named(dtype: str, capability: str, words: str | None) -> None:
    advice = slow_precision(dtype, capability)
    assert advice is None if words is None else words in (advice or "")


@pytest.mark.parametrize(
    ("prompts", "changes", "processes", "waits"),
    [
        (32, ["update.minibatches=4"], 32, True),
        (32, ["update.minibatches=4", "update.split_groups=true"], 32, False),
        (32, ["update.minibatches=4"], 8, False),
        (2, ["update.minibatches=4"], 1, False),
    ],
)
def test_processes_without_a_part_of_each_minibatch_are_named(
    prompts: int, changes: list[str], processes: int, waits: bool
) -> None:
    recipe = load_recipe("scenes", [f"rollout.prompts={prompts}", *changes])
    assert bool(waiting_processes(recipe, processes)) is waits
