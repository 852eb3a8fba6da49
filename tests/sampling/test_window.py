import pytest

from mixgrpo.sampling.window import exp_decay, linear_decay, positions, random_start, random_subset, slide

ENVELOPE = range(2, 12)


def test_positions_are_full_windows() -> None:
    assert positions(ENVELOPE, size=4, stride=1, wrap=True) == [2, 3, 4, 5, 6, 7, 8]
    assert positions(ENVELOPE, size=4, stride=4, wrap=True) == [2, 6]
    assert positions(ENVELOPE, size=10, stride=3, wrap=True) == [2]


def test_a_window_that_stays_reaches_the_end() -> None:
    assert positions(ENVELOPE, size=4, stride=4, wrap=False) == [2, 6, 8]


def test_slide_wraps_or_stays() -> None:
    starts, durations = [0, 5, 9], [2, 1, 1]
    assert [slide(k, starts, durations, wrap=True) for k in range(9)] == [0, 0, 5, 9, 0, 0, 5, 9, 0]
    assert [slide(k, starts, durations, wrap=False) for k in range(6)] == [0, 0, 5, 9, 9, 9]


def test_the_window_depends_on_the_iteration_alone() -> None:
    """Asking in any order, or only later on, gives the same: nothing to save, nothing to resume."""
    starts, durations = positions(ENVELOPE, 3, 2, wrap=True), [3, 3, 3, 3]
    forwards = [slide(k, starts, durations, wrap=True) for k in range(50)]
    assert [slide(k, starts, durations, wrap=True) for k in reversed(range(50))] == forwards[::-1]


def test_decays_by_hand() -> None:
    # from 10 down to 1 over 23 steps: 10 - 9 * 6 / 23 = 7.65
    assert [linear_decay(offset, 23, 10, 1) for offset in (0, 6, 22)] == [10, 7, 1]
    # 5 exp(-0.1 * 3) = 3.7
    assert [exp_decay(offset, 5, 0.1, 13) for offset in (0, 13, 16, 30)] == [5, 5, 4, 1]


def test_random_windows_stay_in_the_envelope_and_reach_all_of_it() -> None:
    starts = {random_start(k, ENVELOPE, 4, seed=1) for k in range(200)}
    assert starts == set(range(2, 9))


def test_random_subset_is_a_fresh_share_of_the_window() -> None:
    window = range(24)
    subsets = [random_subset(k, window, 0.6, seed=0) for k in range(50)]
    assert {len(subset) for subset in subsets} == {14}
    assert len(set(subsets)) == 50
    assert all(set(subset) <= set(window) and list(subset) == sorted(subset) for subset in subsets)
    assert random_subset(3, window, 0.6, seed=0) == subsets[3]
    assert random_subset(3, window, 1.0, seed=0) == tuple(window)
    assert len(random_subset(3, range(2), 0.1, seed=0)) == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_a_subset_reaches_every_step_equally(seed: int) -> None:
    counts = [0] * 10
    for k in range(2000):
        for step in random_subset(k, range(10), 0.5, seed):
            counts[step] += 1
    assert all(900 < count < 1100 for count in counts)
