import math

import pytest
import torch
from torch import Tensor, nn

from mixgrpo.recipe.sections import UpdateConfig
from mixgrpo.training.snapshot import Snapshot
from mixgrpo.training.weights import TrainedWeights, learning_rate
from runs import small_trainer, weights

ONE = {"learning_rate": 0.1, "weight_decay": 0.0}


def trained(gradient: list[float], **settings: object) -> tuple[TrainedWeights, Tensor]:
    """A single weight of three numbers, at 1, with this gradient."""
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.tensor(gradient)
    config = UpdateConfig.model_validate({**ONE, **settings})
    return TrainedWeights({"w": parameter}, config, fused=False), parameter


def test_the_first_step_of_adamw_by_hand() -> None:
    """Its moments are those of the clipped gradient, here (0.6, 0.8, 0), and their ratio is the sign."""
    update, parameter = trained([3.0, 4.0, 0.0], betas=[0.5, 0.75])
    assert update.step(0.1) == pytest.approx(5.0)
    torch.testing.assert_close(parameter, torch.tensor([0.9, 0.9, 1.0]))
    state = update.optimizer.state[parameter]
    torch.testing.assert_close(state["exp_avg"], 0.5 * torch.tensor([0.6, 0.8, 0.0]))
    torch.testing.assert_close(state["exp_avg_sq"], 0.25 * torch.tensor([0.36, 0.64, 0.0]))
    assert parameter.grad is None


def test_the_norm_is_clipped_to_the_recipes() -> None:
    update, parameter = trained([3.0, 4.0, 0.0], max_grad_norm=0.1, betas=[0.0, 0.5])
    update.step(0.1)
    assert update.optimizer.state[parameter]["exp_avg"].norm().item() == pytest.approx(0.1, rel=1e-4)


def test_weights_decay() -> None:
    update, parameter = trained([0.0, 0.0, 0.0], weight_decay=0.5)
    update.step(0.1)
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 1 - 0.1 * 0.5))


def test_the_given_learning_rate_counts() -> None:
    update, parameter = trained([1.0, 1.0, 1.0])
    update.step(0.02)
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.98))


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "linear"}, [1.0, 0.75, 0.5, 0.25]),
        ({"warmup_iterations": 2}, [0.5, 1.0, 1.0, 1.0]),
        ({"warmup_iterations": 4, "schedule": "linear"}, [0.25, 0.5, 0.5, 0.25]),
    ],
)
def test_the_schedule_of_the_learning_rate(settings: dict[str, object], rates: list[float]) -> None:
    config = UpdateConfig.model_validate({"learning_rate": 0.2, **settings})
    assert [learning_rate(config, k, 4) for k in range(4)] == pytest.approx([0.2 * rate for rate in rates])


def test_training_follows_the_schedule() -> None:
    trainer = small_trainer(iterations=4, update={"learning_rate": 1e-3, "schedule": "linear"})
    shown, used = [], []
    for _ in range(4):
        shown.append(trainer.iterate()["learning_rate"])
        used.append(trainer.policy.weights.optimizer.param_groups[0]["lr"])
    assert shown == used == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])


def test_the_average_lags_behind_and_is_in_place_only_inside() -> None:
    trainer = small_trainer(update={"learning_rate": 1e-3, "ema_decay": 0.75})
    start = weights(trainer)
    trainer.iterate()
    after = weights(trainer)
    with trainer.policy.weights.averaged():
        for name, value in weights(trainer).items():
            torch.testing.assert_close(value, 0.75 * start[name] + 0.25 * after[name])
    assert all(torch.equal(after[name], value) for name, value in weights(trainer).items())


def test_other_weights_are_in_place_only_inside() -> None:
    trainer = small_trainer()
    start = weights(trainer)
    trainer.iterate()
    after = weights(trainer)
    with trainer.policy.weights.set_aside():
        for name, parameter in trainer.policy.weights.parameters.items():
            parameter.detach().copy_(start[name])
        assert all(torch.equal(start[name], value) for name, value in weights(trainer).items())
    assert all(torch.equal(after[name], value) for name, value in weights(trainer).items())


def test_a_reset_forgets_the_moments_of_the_optimizer() -> None:
    trainer = small_trainer()
    before = {name: tensor.clone() for name, tensor in trainer.snapshot().tensors.items()}
    first = trainer.run_iteration(0)
    trainer.policy.weights.reset(before)
    assert not trainer.policy.weights.optimizer.state
    again = trainer.run_iteration(0)
    assert again["grad_norm"] == first["grad_norm"]
    assert math.isclose(again["loss"], first["loss"])


def test_gradient_checkpointing_recomputes_and_changes_no_gradient() -> None:
    """The blocks run once more in the backward pass."""
    norms, calls = [], []
    for checkpointing in (False, True):
        trainer = small_trainer(update={"learning_rate": 1e-3, "gradient_checkpointing": checkpointing})
        block = trainer.model.networks["transformer"].transformer_blocks[0]
        calls.append(0)

        def count(*_: object) -> None:
            calls[-1] += torch.is_grad_enabled()

        block.register_forward_pre_hook(count)
        norms.append(trainer.iterate()["grad_norm"])
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)
    assert calls[1] == 2 * calls[0] > 0


def test_an_interrupted_update_leaves_no_gradient_behind() -> None:
    interrupted, fresh = small_trainer(), small_trainer()
    for parameter in interrupted.policy.weights.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    assert interrupted.iterate()["grad_norm"] == fresh.iterate()["grad_norm"]


@pytest.mark.parametrize("fused", [True, False])
def test_a_restored_optimizer_goes_on_as_the_old_one(fused: bool) -> None:
    gradient = torch.tensor([0.1, -0.2, 0.3])
    config = UpdateConfig.model_validate(ONE)
    old, new = (TrainedWeights({"w": nn.Parameter(torch.ones(3))}, config, fused) for _ in range(2))
    for _ in range(2):
        old.parameters["w"].grad = gradient.clone()
        old.step(0.1)
    new.restore(Snapshot(2, {name: tensor.clone() for name, tensor in old.snapshot(2).tensors.items()}))
    for each in (old, new):
        each.parameters["w"].grad = gradient.clone()
        each.step(0.1)
    assert torch.equal(old.parameters["w"], new.parameters["w"])
    states = [one.optimizer.state[one.parameters["w"]] for one in (old, new)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in ("step", "exp_avg", "exp_avg_sq"))
