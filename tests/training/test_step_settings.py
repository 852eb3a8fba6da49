"""What the settings of a window's objective do to the gradient of an iteration."""

from typing import Any

import pytest
import torch

from mixgrpo.objectives.advantages import reward_spread
from mixgrpo.sampling.plan import make_plan
from mixgrpo.sampling.schedule import shifted_linspace
from mixgrpo.sampling.step_weights import StepWeight, raw_weight
from mixgrpo.training.trainer import Trainer
from runs import small_trainer

GRID = shifted_linspace(25, 3.0)


def trainer(start: int = 1, passes: int = 1, **objective: Any) -> Trainer:
    return small_trainer(
        window={"strategy": "frozen", "size": 1, "range": [start, 4]},
        sde={"type": "flow", "noise_level": 0.7},
        objective={"clip_range": 1e6, **objective},
        update={"learning_rate": 1e-3, "max_grad_norm": 1e9, "passes": passes},
    )


def grad_norm(start: int = 1, **objective: Any) -> float:
    return float(trainer(start, **objective).iterate()["grad_norm"])


@pytest.mark.parametrize("kind", ["equal", "flash", "temporal", "guard"])
def test_weights_have_mean_1_over_the_steps_that_the_window_may_cover(kind: StepWeight) -> None:
    envelope = range(2, 12)
    steps = [
        make_plan(GRID, range(i, i + 1), weight=kind, envelope=envelope, sde_type="precise").steps[i] for i in envelope
    ]
    weights = [step.weight for step in steps]
    assert sum(weights) / len(weights) == pytest.approx(1)
    raw = [raw_weight(kind, step.move) for step in steps]
    assert [weight / weights[0] for weight in weights] == pytest.approx([value / raw[0] for value in raw])
    assert (len({*weights}) == 1) == (kind == "equal")
    assert all(step.weight == 1 for step in make_plan(GRID, range(3)).steps)


@pytest.mark.parametrize("kind", ["flash", "temporal", "guard"])
@pytest.mark.parametrize("credit", ["clipped-ratio", "image-credit"])
def test_a_steps_gradient_is_weighed(kind: str, credit: str) -> None:
    weighed = trainer(type=credit, step_weight=kind)
    weight = weighed.plan_at(0).steps[1].weight
    assert weight != pytest.approx(1, rel=0.01)
    assert weighed.iterate()["grad_norm"] == pytest.approx(weight * grad_norm(type=credit), rel=1e-3)


def test_a_guarded_ratio_moves_by_the_std_of_its_step() -> None:
    """Before the first update its gradient is std times that of the plain one."""
    for start in (1, 3):
        std = trainer(start).plan_at(0).steps[start].move.std
        assert grad_norm(start, ratio="guarded") == pytest.approx(std * grad_norm(start), rel=1e-3)


def test_terms_that_went_far_are_dropped_instead_of_clipped() -> None:
    def dropped(divergence: float) -> float:
        return float(trainer(passes=2, divergence=divergence).iterate()["clip_fraction"])

    assert dropped(1e6) == 0
    assert 0.1 < dropped(1e-12) <= 0.5, "only in the second pass, and only where the ratio went along"


def test_rewards_that_differ_by_rounding_are_not_spread() -> None:
    rewards = torch.tensor([[0.5, 0.5 + 3e-7, 0.5], [0.0, 1.0, 0.5], [float("nan"), 0.3, float("nan")]])
    assert reward_spread({"a": rewards, "b": rewards}, {"a": 2.0}).tolist() == pytest.approx([0.0, 1.0, 0.0])
