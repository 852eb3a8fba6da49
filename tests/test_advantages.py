import pytest
import torch

from mixgrpo.advantages import advantages, group_advantages


def test_by_hand() -> None:
    # mean 2, std 1 (of a sample)
    torch.testing.assert_close(group_advantages(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 0.0, 1.0]]))


def test_equal_rewards_teach_nothing_and_divide_by_nothing() -> None:
    assert torch.equal(group_advantages(torch.full((2, 4), 0.3)), torch.zeros(2, 4))


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 2 images"):
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
