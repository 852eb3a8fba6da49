"""Every metric has a meaning, and every meaning a metric."""

from typing import Any

import pytest

from mixgrpo.training.meanings import METRICS
from runs import small_trainer

_UPDATE = {"learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("sections", "also"),
    [
        ({"objective": {"clip_range": 1e-2, "kl_weight": 0.01}}, {"clip_fraction", "ratio_deviation", "kl"}),
        ({"objective": {"type": "awm", "old_weight": 0.1}}, {"clip_fraction", "distance_to_old"}),
    ],
    ids=["window", "re-noised"],
)
def test_the_metrics_of_an_iteration_are_described(sections: dict[str, Any], also: set[str]) -> None:
    metrics = small_trainer(**sections, update=_UPDATE).iterate()
    assert also <= metrics.keys() <= METRICS.keys()


def test_no_other_is_described() -> None:
    one = small_trainer(objective={"clip_range": 1e-2, "kl_weight": 0.01}).iterate()
    other = small_trainer(objective={"type": "awm", "old_weight": 0.1}).iterate()
    assert METRICS.keys() == one.keys() | other.keys() | {"evaluation"}
