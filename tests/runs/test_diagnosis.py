import random
from typing import Any

import pytest

from mixgrpo.runs.diagnosis import diagnose, exploded
from runs import small_recipe

RECIPE = small_recipe(
    rewards={"wanted": 1.0, "watched": 0.0}, objective={"clip_range": 1e-2}, update={"minibatches": 2}
)


def run(wanted: float = 0.0, watched: float = 0.0, **changes: Any) -> list[dict[str, Any]]:
    """Twenty iterations whose rewards move by so much in all, in a little noise."""
    rng = random.Random(0)
    return [
        {
            "rewards": {
                "wanted": 0.5 + wanted * i / 20 + rng.gauss(0, 0.01),
                "watched": 0.5 + watched * i / 20 + rng.gauss(0, 0.01),
            },
            "first_ratio_error": 1e-7,
            "clip_fraction": 0.1,
            "skipped_groups": 0,
            "failed_scores": {"wanted": 0, "watched": 0},
            **changes,
        }
        for i in range(20)
    ]


def test_a_run_that_goes_well_needs_no_words() -> None:
    assert diagnose(run(wanted=0.2, watched=0.2), RECIPE) == {}


@pytest.mark.parametrize(
    ("recent", "words"),
    [
        (run(wanted=0.2, watched=0.2, first_ratio_error=2e-2), "the clip acts on rounding"),
        (run(wanted=0.2, watched=0.2, skipped_groups=2), "67% of the groups have equal rewards"),
        (run(wanted=0.2, watched=0.2, clip_fraction=0.95), "95% of the ratios are clipped"),
        (run(wanted=0.2, watched=0.2, failed_scores={"wanted": 1, "watched": 0}), "scores failed: 20 by wanted"),
        (run(wanted=0.2, watched=-0.2), "wanted rises while watched falls: reward hacking"),
        (run(wanted=-0.2, watched=-0.2), "wanted falls: the updates are mostly noise"),
        (run(clip_fraction=0.0), "rewards are flat"),
    ],
)
def test_what_goes_wrong_is_named(recent: list[dict[str, Any]], words: str) -> None:
    (finding,) = diagnose(recent, RECIPE).values()
    assert words in finding


def test_a_gradient_far_beyond_the_usual_is_an_explosion() -> None:
    norms = [0.8, 1.0, 1.2, 0.9, 1.1]
    recent = [{"iteration": i, "grad_norm": norm} for i, norm in enumerate(norms)]
    large, huge = ({"iteration": 5, "grad_norm": norm} for norm in (20.0, 150.0))
    assert exploded(recent) == ""
    assert exploded([*recent, large]) == ""
    assert "iteration 5: the gradient's norm is 150, 150 times" in exploded([*recent, huge])
    assert exploded([*recent[:2], huge]) == ""  # nothing is usual yet


def test_no_finding_hides_another() -> None:
    both = diagnose(run(wanted=0.2, watched=-0.2, failed_scores={"wanted": 1, "watched": 0}, skipped_groups=2), RECIPE)
    assert [*both] == ["failed-scores", "skipped-groups", "reward-hacking"]


def test_rounding_below_the_clip_range_is_no_finding() -> None:
    """The preflight accepts it, and published recipes in bfloat16 have it."""
    assert diagnose(run(wanted=0.2, watched=0.2, first_ratio_error=5e-3), RECIPE) == {}
