import pytest
import torch
from torch.distributions import Normal

from mixgrpo.sampling.steppers.gaussian import advance, clean_image, draw, log_prob
from mixgrpo.sampling.steppers.move import Move
from mixgrpo.sampling.steppers.ode import ode_step
from mixgrpo.sampling.steppers.sde import cps, dance

X, VELOCITY, NOISE = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()


def test_log_prob_is_the_normal_density_averaged_over_all_but_the_batch() -> None:
    move = dance(0.5, 0.4, 0.7)
    mean = advance(move, X, VELOCITY)
    x_next = draw(move, mean, NOISE)
    expected = Normal(mean, move.std).log_prob(x_next).mean((1, 2))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(log_prob(move, x_next, mean), expected)


def test_cps_log_prob_differs_from_the_published_by_a_constant() -> None:
    move = cps(0.5, 0.4, 0.7)
    mean = advance(move, X, VELOCITY)
    published = -(draw(move, mean, NOISE) - mean).square().mean((1, 2))
    difference = log_prob(move, draw(move, mean, NOISE), mean) - published
    torch.testing.assert_close(difference, difference[:1].expand(2))


def test_log_prob_is_float32_whatever_comes_in() -> None:
    move = dance(0.5, 0.4, 0.7)
    low = log_prob(move, X.bfloat16(), VELOCITY.bfloat16())
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, log_prob(move, X.bfloat16().float(), VELOCITY.bfloat16().float()))


def test_a_deterministic_step_has_no_log_prob() -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        log_prob(ode_step("euler", 0.5, 0.4), X, X)


def test_history_enters_newest_first_and_as_far_as_there_is_any() -> None:
    move = Move(1.0, 0.0, history_coefs=(10.0, 100.0))
    x0s = [torch.full((1, 1), 1.0), torch.full((1, 1), 2.0), torch.full((1, 1), 3.0)]
    assert advance(move, torch.zeros(1, 1), torch.zeros(1, 1), x0s).item() == 210
    assert advance(move, torch.zeros(1, 1), torch.zeros(1, 1), x0s[:1]).item() == 10


def test_the_clean_image_is_where_the_velocity_points() -> None:
    image, noise, sigma = X, NOISE, 0.3
    x = (1 - sigma) * image + sigma * noise
    torch.testing.assert_close(clean_image(x, noise - image, sigma), image)
