import pytest

from mixgrpo.bench.algorithms import ALGORITHMS, published_ratio, selected


def test_the_baseline_is_always_selected() -> None:
    assert selected([]) == ALGORITHMS
    assert selected(["turbo"]) == {"DanceGRPO": "dancegrpo", "turbo": "turbo"}


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--only flowgrpo-fast: did you mean flowgrpo\?"):
        selected(["flowgrpo-fast"])


def test_published_ratios() -> None:
    assert published_ratio("mixgrpo-flash-frozen") == pytest.approx(0.286, abs=1e-3)
    assert published_ratio("turbo") is None
