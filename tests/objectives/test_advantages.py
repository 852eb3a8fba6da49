import math

import pytest
import torch

from mixgrpo.objectives.advantages import advantages, group_advantages, group_std, has_signal
from mixgrpo.recipe.sections import Aggregation


def test_by_hand() -> None:
    # mean 2, std 1 (of a sample)
    torch.testing.assert_close(group_advantages(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 0.0, 1.0]]))


def test_equal_rewards_teach_nothing_and_divide_by_nothing() -> None:
    assert torch.equal(group_advantages(torch.full((2, 4), 0.3)), torch.zeros(2, 4))


def test_rounding_is_no_difference() -> None:
    """Divided by its own std it would be one, beside another reward that does tell the group apart."""
    rounded = torch.tensor([[0.3, 0.3, 0.3 + 6e-8, 0.3]])
    assert rounded.max() > rounded.min()
    assert torch.equal(group_advantages(rounded), torch.zeros(1, 4))


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 2 images"):
        group_advantages(torch.ones(3, 1))


def test_advantage_aggregation_ignores_scales_and_reward_aggregation_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = {"a": torch.randn(2, 8, generator=generator), "b": torch.randn(2, 8, generator=generator)}
    scaled = {**rewards, "b": 100 * rewards["b"]}
    weights = {"a": 0.5, "b": 0.5}
    torch.testing.assert_close(advantages(rewards, weights), advantages(scaled, weights), atol=1e-4, rtol=1e-4)
    dominated = advantages(scaled, weights, "reward")
    torch.testing.assert_close(dominated, group_advantages(rewards["b"]), atol=0.1, rtol=0.1)


def test_advantages_are_clipped() -> None:
    rewards = torch.zeros(1, 50)
    rewards[0, 0] = 1
    assert group_advantages(rewards).max() > 5
    assert advantages({"a": rewards}, {"a": 1.0}).max() == 5


def test_an_image_without_a_score_is_left_out_of_its_groups_statistics() -> None:
    scores = torch.tensor([[1.0, math.nan, 2.0, 3.0], [5.0, 5.0, 5.0, 9.0]])
    got = group_advantages(scores)
    torch.testing.assert_close(got[0], torch.tensor([-1.0, math.nan, 0.0, 1.0]), equal_nan=True)
    torch.testing.assert_close(got[1:], group_advantages(scores[1:]))


@pytest.mark.parametrize("lonely", [[1.0, math.nan, math.nan], [math.nan] * 3])
def test_a_group_with_fewer_than_two_scores_has_no_advantages(lonely: list[float]) -> None:
    assert group_advantages(torch.tensor([lonely])).isnan().all()


@pytest.mark.parametrize("aggregation", ["advantage", "reward"])
def test_an_image_counts_where_every_reward_has_scored_it(aggregation: Aggregation) -> None:
    a, b = torch.tensor([[1.0, 2.0, 3.0, 7.0]]), torch.tensor([[4.0, 2.0, 5.0, math.nan]])
    weights = {"a": 1.0, "b": 0.5}
    got = advantages({"a": a, "b": b}, weights, aggregation)
    torch.testing.assert_close(got[:, :3], advantages({"a": a[:, :3], "b": b[:, :3]}, weights, aggregation))
    assert got[:, 3].isnan().all()


def test_the_std_is_a_samples_over_those_scored() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, math.nan], [2.0, math.nan, math.nan, math.nan], [math.nan] * 4])
    torch.testing.assert_close(group_std(scores), torch.tensor([1.0, math.nan, math.nan]), equal_nan=True)


def test_a_group_is_told_apart_by_any_reward_among_the_images_that_count() -> None:
    a = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [1.0, 1.0, 1.0], [math.nan, math.nan, math.nan]])
    b = torch.tensor([[0.3, 0.3, 0.3], [0.3, 0.3, math.nan], [0.3, 0.4, math.nan], [0.1, 0.2, 0.3]])
    assert has_signal({"a": a, "b": b}).tolist() == [False, False, True, False]


def test_rewards_are_weighted_by_hand() -> None:
    """Two rewards whose advantages are (-1, 1) / sqrt(2) and (1, -1) / sqrt(2)."""
    rewards = {"a": torch.tensor([[0.0, 1.0]]), "b": torch.tensor([[3.0, 1.0]])}
    half = 0.5**0.5
    by_advantage = advantages(rewards, {"a": 1.0, "b": 0.25}, "advantage")
    torch.testing.assert_close(by_advantage, torch.tensor([[-0.75 * half, 0.75 * half]]))
    by_reward = advantages(rewards, {"a": 1.0, "b": 0.75}, "reward")  # sums 2.25 and 1.75
    torch.testing.assert_close(by_reward, torch.tensor([[half, -half]]))
