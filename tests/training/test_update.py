from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.objectives.clipped_ratio import ClippedRatio
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import make_plan
from mixgrpo.sampling.rollout import Rollout, rollout
from mixgrpo.training.update import ImageRef, Minibatch, UpdateStats, accumulate, minibatches, select

PROMPTS = prompts_of(["a red circle", "two blue squares", "CAT"])
G = 4
ADVANTAGES = torch.linspace(-2, 2, len(PROMPTS) * G)
ALL = list(range(len(PROMPTS) * G))


def sample(model: FlowModel, share: bool = True) -> Rollout:
    plan = make_plan(model.grid(6), range(2, 4), suffix_solver="euler")
    noise = KeyedNoise(0, 0, model.latent_shape)
    return rollout(model, plan, model.encode(PROMPTS), noise, group_size=G, micro_batch=5, share_computation=share)


def gradient(
    model: FlowModel,
    sampled: Rollout,
    micro_batch: int,
    parts: list[list[int]],
    objective: ClippedRatio | None = None,
    reference: FlowModel | None = None,
) -> tuple[Tensor, UpdateStats]:
    """Of all parts together, as one flat vector."""
    objective = objective or ClippedRatio(clip_range=1e-4)
    network = model.networks["transformer"].requires_grad_(True)
    network.zero_grad()
    stats = UpdateStats()
    terms = objective.terms(sampled, ADVANTAGES, KeyedNoise(0, 0, model.latent_shape))
    for images in parts:
        accumulate(
            model,
            objective,
            terms,
            select(terms, images, micro_batch, together=False),
            model.encode(PROMPTS),
            total=len(PROMPTS) * G * len(terms),
            reference=lambda: nullcontext(reference or model),
            old=None,
            first=True,
            stats=stats,
            before_backward=lambda last: None,
        )
    flat = torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in network.parameters()]
    )
    network.zero_grad()
    network.requires_grad_(False)
    return flat, stats


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
    assert stats.sums()["count"] == len(ALL) * 2
    error = stats.largest_first_ratio_error()
    assert error is not None
    assert error < 1e-6


def test_parts_add_up(flux: FlowModel) -> None:
    """As with processes that each hold some of the images, one of them none."""
    sampled = sample(flux)
    expected, _ = gradient(flux, sampled, 4, [ALL])
    got, _ = gradient(flux, sampled, 4, [ALL[:4], [], ALL[4:]])
    assert (got - expected).norm() <= 1e-4 * expected.norm()


def test_the_kl_to_another_model_has_a_gradient_and_to_itself_none(flux: FlowModel) -> None:
    sampled = sample(flux)
    network = flux.networks["transformer"]
    other = flux.with_networks({"transformer": type(network).from_config(network.config).eval()})
    without, _ = gradient(flux, sampled, 4, [ALL])
    with_kl = ClippedRatio(clip_range=1e-4, kl_weight=10.0)
    to_itself, near = gradient(flux, sampled, 4, [ALL], with_kl)
    to_other, far = gradient(flux, sampled, 4, [ALL], with_kl, reference=other)
    twice, _ = gradient(flux, sampled, 4, [ALL], ClippedRatio(clip_range=1e-4, kl_weight=20.0), reference=other)
    assert near.sums()["kl"] < 1e-9 < far.sums()["kl"]
    assert (to_itself - without).norm() <= 1e-4 * without.norm()
    assert (to_other - without).norm() > 1e-2 * without.norm()
    torch.testing.assert_close(twice - without, 2 * (to_other - without), atol=1e-4, rtol=1e-2)


def group(rank: int, *numbers: int) -> list[ImageRef]:
    return [ImageRef(rank, number) for number in numbers]


def test_minibatches_keep_groups_together_and_cover_everything() -> None:
    groups = [group(0, *range(3 * g, 3 * g + 3)) for g in (0, 2, 5, 7)]
    parts = minibatches(groups, 2, "key", rank=0)
    assert [part.size for part in parts] == [len(part.images) for part in parts] == [6, 6]
    assert all(len({image // 3 for image in part.images}) == 2 for part in parts)
    assert sorted(n for part in parts for n in part.images) == [image.number for one in groups for image in one]
    assert parts == minibatches(groups, 2, "key", rank=0)
    assert parts != minibatches(groups, 2, "another", rank=0)


def test_every_rank_keeps_its_own_images_of_the_same_split() -> None:
    groups = [group(0, 0, 1), group(0, 2, 3), group(1, 0, 1), group(1, 2, 3)]
    first, second = (minibatches(groups, 2, "key", rank) for rank in (0, 1))
    assert [part.size for part in first] == [part.size for part in second] == [4, 4]
    assert [len(a.images) + len(b.images) for a, b in zip(first, second, strict=True)] == [4, 4]
    for parts in (first, second):
        assert sorted(n for part in parts for n in part.images) == [0, 1, 2, 3]


def test_every_rank_has_images_in_each_minibatch() -> None:
    """Its groups follow each other. With as many groups as mini-batches they stay whole."""
    ranks = [[group(rank, *range(3 * g, 3 * g + 3)) for g in range(4)] for rank in range(3)]
    for rank in range(3):
        parts = minibatches([one for own in ranks for one in own], 4, "key", rank)
        assert [len(part.images) for part in parts] == [3, 3, 3, 3]
        assert all(len({image // 3 for image in part.images}) == 1 for part in parts)


def test_groups_are_split_where_a_rank_has_fewer_than_there_are_minibatches() -> None:
    ranks = [group(rank, *range(12)) for rank in range(8)]
    idle = [len(part.images) for part in minibatches(ranks, 4, "key", 0)]
    assert sorted(idle) == [0, 0, 0, 12]
    parts = minibatches(ranks, 4, "key", 0, split_groups=True)
    assert [(len(part.images), part.size) for part in parts] == [(3, 24)] * 4
    assert sorted(number for part in parts for number in part.images) == [*range(12)]
    assert parts != minibatches(ranks, 4, "another", 0, split_groups=True)


def test_what_is_left_over_is_split() -> None:
    parts = minibatches([group(0, *range(4 * g, 4 * g + 4)) for g in range(3)], 2, "key", rank=0)
    assert [part.size for part in parts] == [6, 6]
    assert sorted(number for part in parts for number in part.images) == [*range(12)]


def test_a_group_may_have_lost_some_of_its_images() -> None:
    parts = minibatches([group(0, 0, 1, 2), group(0, 4, 5)], 2, "key", rank=0)
    assert sorted(sorted(part.images) for part in parts) == [[0, 1, 2], [4, 5]]


def test_one_group_is_split_if_there_are_more_minibatches_than_groups() -> None:
    assert [part.size for part in minibatches([group(0, *range(48, 60))], 4, "key", rank=0)] == [3, 3, 3, 3]
    assert minibatches([], 4, "key", rank=0) == []
    assert minibatches([group(1, 5)], 1, "key", rank=0) == [Minibatch([], 1)]
