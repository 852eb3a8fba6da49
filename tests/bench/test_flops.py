import pytest
import torch

from bench_setups import timing, tiny_setup
from mixgrpo.bench.flops import achieved, flops_per_row, matrix_rate
from runs import small_recipe


def test_flops_are_those_of_the_linear_layers_and_more() -> None:
    """Every weight matrix is multiplied by at least one token, and by at most all of them."""
    setup = tiny_setup()
    trainer = setup.trainer(setup.recipe("mixgrpo"))
    row = flops_per_row(trainer)
    network = trainer.model.networks["transformer"]
    weights = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() == 2)
    assert 2 * weights < row < 2 * weights * (48 + 48) * 2


@pytest.mark.parametrize(
    ("changes", "passes"),
    [({}, 3), ({"tune": "lora"}, 2), ({"update": {"gradient_checkpointing": True}}, 4)],
)
def test_a_backward_pass_counts(changes: dict[str, object], passes: int) -> None:
    rates = achieved(timing(rollout=2, update=3), 100, small_recipe(**changes))  # 6 rows each
    assert rates == {"rollout": 300, "update": 200 * passes}


def test_the_rate_of_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixgrpo.bench.flops.median_seconds", lambda run, device: 2.0)
    monkeypatch.setattr("mixgrpo.bench.flops._MATRIX_SIZE", {"cpu": 10})
    assert matrix_rate(torch.device("cpu"), torch.float32) == 1000
