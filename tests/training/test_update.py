from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from mixgrpo.models.base import FlowModel
from mixgrpo.recipe.sections import UpdateConfig
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import make_plan
from mixgrpo.sampling.rollout import Rollout, rollout
from mixgrpo.training.update import UpdateStats, accumulate, shares

PROMPTS = ["a red circle", "two blue squares", "CAT"]
G = 4
ADVANTAGES = torch.linspace(-2, 2, len(PROMPTS) * G)


def sample(model: FlowModel, share: bool = True) -> Rollout:
    plan = make_plan(model.grid(6), range(2, 4), suffix_solver="euler")
    noise = KeyedNoise(0, 0, model.latent_shape)
    told = model.encode(PROMPTS)
    return rollout(model, plan, told, noise, group_size=G, micro_batch=5, share_computation=share)


def gradient(
    model: FlowModel, sampled: Rollout, micro_batch: int, parts: list[list[int]], kl: float = 0.0
) -> tuple[Tensor, UpdateStats]:
    """Of all parts together, as one flat vector."""
    parameters = [*model.transformer.requires_grad_(True).parameters()]
    model.transformer.zero_grad()
    stats = UpdateStats()
    for images in parts:
        accumulate(
            model,
            sampled,
            model.encode(PROMPTS),
            ADVANTAGES,
            torch.tensor(images, dtype=torch.long),
            total_transitions=len(PROMPTS) * G * len(sampled.transitions),
            micro_batch=micro_batch,
            settings=UpdateConfig(kl=kl),
            reference=lambda: nullcontext(model),
            first=True,
            stats=stats,
        )
    flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
    model.transformer.zero_grad()
    model.transformer.requires_grad_(False)
    return flat, stats


ALL = list(range(len(PROMPTS) * G))


def test_unique_states_give_the_naive_gradient(model: FlowModel) -> None:
    shared, stats = gradient(model, sample(model), 5, [ALL])
    naive, naive_stats = gradient(model, sample(model, share=False), 5, [ALL])
    assert (shared - naive).norm() <= 1e-4 * naive.norm()
    assert naive.norm() > 0
    assert (stats.model_rows, naive_stats.model_rows) == (len(PROMPTS) * (1 + G), 2 * len(PROMPTS) * G)


@pytest.mark.parametrize("micro_batch", [1, 3, 100])
def test_the_micro_batch_does_not_change_the_gradient(flux: FlowModel, micro_batch: int) -> None:
    sampled = sample(flux)
    expected, _ = gradient(flux, sampled, 4, [ALL])
    got, stats = gradient(flux, sampled, micro_batch, [ALL])
    assert (got - expected).norm() <= 1e-4 * expected.norm()
    assert stats.sums()["transitions"] == len(ALL) * 2
    assert stats.first_gap < 1e-6


def test_parts_add_up(flux: FlowModel) -> None:
    """As processes that each hold some of the images do, one of them none."""
    sampled = sample(flux)
    expected, _ = gradient(flux, sampled, 4, [ALL])
    got, _ = gradient(flux, sampled, 4, [ALL[:4], [], ALL[4:]])
    assert (got - expected).norm() <= 1e-4 * expected.norm()


def test_the_kl_to_itself_is_zero_and_adds_no_gradient(flux: FlowModel) -> None:
    sampled = sample(flux)
    without, _ = gradient(flux, sampled, 4, [ALL])
    with_kl, stats = gradient(flux, sampled, 4, [ALL], kl=10.0)
    assert stats.sums()["kl"] < 1e-9
    assert (with_kl - without).norm() <= 1e-4 * without.norm()


def test_shares_keep_groups_together_and_cover_everything() -> None:
    groups = [[group * 3 + member for member in range(3)] for group in (0, 2, 5, 7)]
    parts = shares(groups, 2, "key")
    assert [len(part) for part in parts] == [6, 6]
    assert all(len({image // 3 for image in part}) == 2 for part in parts)
    assert sorted(image for part in parts for image in part) == [image for group in groups for image in group]
    assert parts == shares(groups, 2, "key")
    assert parts != shares(groups, 2, "another")


def test_a_group_may_have_lost_some_of_its_images() -> None:
    assert sorted(map(sorted, shares([[0, 1, 2], [4, 5]], 2, "key"))) in ([[0, 1, 2], [4, 5]], [[0, 1], [2, 4, 5]])


def test_one_group_is_split_where_there_are_more_updates_than_groups() -> None:
    assert [len(part) for part in shares([[*range(48, 60)]], 4, "key")] == [3, 3, 3, 3]
    assert shares([], 4, "key") == []
