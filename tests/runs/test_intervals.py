import pytest

from mixgrpo.runs.intervals import normal_half_width, t_half_width, wilson


def test_a_mean_by_hand() -> None:
    """Of 1, 2, 3 the sample deviation is 1, so that of the mean is 1 / sqrt(3)."""
    assert normal_half_width([1.0, 2.0, 3.0]) == pytest.approx(1.96 / 3**0.5)
    assert t_half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / 3**0.5, rel=1e-4)  # t with 2 degrees of freedom


def test_a_single_value_has_no_deviation() -> None:
    assert normal_half_width([5.0]) == 0
    assert t_half_width([5.0]) is None


def test_a_proportion_as_in_the_literature() -> None:
    """Newcombe (1998), table I: 81 of 263, and 0 of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-4)
