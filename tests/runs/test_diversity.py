import pytest
import torch

from mixgrpo.recipe.errors import RecipeError
from mixgrpo.recipe.load import load_recipe
from mixgrpo.runs.diversity import IMAGES, distances, halved, repeated


def test_the_distance_of_two_images_by_hand() -> None:
    """Of images that differ by a constant: the root mean square of the six pairs' differences."""
    levels = [0.0, 0.1, 0.3, 0.6]
    images = torch.stack([torch.full((1, 3, 80, 100), level) for level in levels * 2]).view(8, 1, 3, 80, 100)
    pairs = [a - b for i, a in enumerate(levels) for b in levels[:i]]
    expected = (sum(pair**2 for pair in pairs) / len(pairs)) ** 0.5
    assert distances(images).tolist() == pytest.approx([expected] * 2)


def test_texture_is_no_difference() -> None:
    noise = torch.rand(IMAGES, 1, 3, 512, 512)
    assert distances(noise)[0] < 0.2 * distances(noise[..., :64, :64])[0]


def test_each_prompt_is_drawn_as_often() -> None:
    assert len(repeated(["a", "b"])) == 2 * IMAGES  # type: ignore[list-item]


def test_a_loss_of_half_is_said() -> None:
    assert halved(0.2, 0.11) == ""
    assert "0.090 apart, before training 0.200" in halved(0.2, 0.09)


def test_no_reward_may_have_its_name() -> None:
    with pytest.raises(RecipeError, match=r"rewards\.diversity: evaluations report a measure of that name"):
        load_recipe("scenes", ["rewards.diversity=0.1"])
