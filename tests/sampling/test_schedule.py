import math
from itertools import pairwise

import pytest

from mixgrpo.models.base import FlowModel
from mixgrpo.sampling.schedule import SigmaGrid, shift_time, shifted_linspace, unshift_time


def test_shifted_linspace_by_hand() -> None:
    # shift 3: t = 1/2 goes to 3/2 / (1 + 1) = 3/4
    assert shifted_linspace(2, 3.0).sigmas == pytest.approx((1, 0.75, 0))
    assert shifted_linspace(4, 1.0).sigmas == pytest.approx((1, 0.75, 0.5, 0.25, 0))


def test_unshift_inverts_shift() -> None:
    for t in (0.0, 0.1, 0.5, 1.0):
        assert unshift_time(shift_time(t, 3.0), 3.0) == pytest.approx(t)


@pytest.mark.parametrize("start", [0, 4, 13, 24])
@pytest.mark.parametrize("num_steps", [1, 3, 7])
def test_resampling_a_shifted_linspace_is_the_published_compression(start: int, num_steps: int) -> None:
    """shift(linspace(t_start, 0))"""
    resampled = shifted_linspace(25, 3.0).resampled(start, num_steps)
    t_start = 1 - start / 25
    assert resampled == pytest.approx([shift_time(t_start * (1 - k / num_steps), 3.0) for k in range(num_steps + 1)])
    assert resampled[-1] == 0


def test_resampling_to_the_same_number_of_steps_changes_nothing() -> None:
    grid = shifted_linspace(10, 3.0)
    assert grid.resampled(3, 7) == grid.sigmas[3:]


@pytest.mark.parametrize("sigmas", [(1.0,), (1.0, 0.5), (1.0, 0.5, 0.6, 0.0), (1.2, 0.5, 0.0)])
def test_a_grid_decreases_from_at_most_1_to_0(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="decrease from at most 1 to exactly 0"):
        SigmaGrid(sigmas, shift=1.0)


def test_the_models_own_grid_resamples_between_its_levels(model: FlowModel) -> None:
    """Also where it is no shifted linspace: Qwen-Image's stops at 0.02, SD3's is shifted twice."""
    grid = model.grid(20)
    resampled = grid.resampled(8, 5)
    assert resampled[0] == grid.sigmas[8]
    assert resampled[-1] == 0
    assert all(a > b for a, b in pairwise(resampled))
    # 12 steps in 5: the third of the levels is 2/5 between the grid's 12th and 13th
    assert grid.sigmas[13] < resampled[2] < grid.sigmas[12]


def test_dynamic_shift_grows_with_the_image(flux: FlowModel) -> None:
    """exp of a line through (256 tokens, 0.5) and (4096 tokens, 1.15); this image has 48."""
    mu = 0.5 + (1.15 - 0.5) / (4096 - 256) * (48 - 256)
    assert flux.latent_shape[0] == 48
    assert flux.grid(10).shift == pytest.approx(math.exp(mu))
    assert flux.grid(10).sigmas == pytest.approx(shifted_linspace(10, math.exp(mu)).sigmas, abs=1e-6)
