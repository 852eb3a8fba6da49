import pytest
from torch import Tensor

from mixgrpo.objectives.image_credit import to_pictures
from mixgrpo.runs.memory import held
from runs import PROMPTS, small_trainer


def test_what_is_held_is_what_the_tensors_are() -> None:
    trainer = small_trainer(update={"kl": 0.1, "ema": 0.9})
    expected = held(trainer)
    trainer.iterate()
    moments = [trainer.optimizer.state[parameter] for parameter in trainer.parameters.values()]
    held_moments = sum(state[name].nbytes for state in moments for name in ("exp_avg", "exp_avg_sq"))
    assert expected["optimizer"] == held_moments
    assert expected["gradients"] == sum(p.grad.nbytes for p in trainer.parameters.values() if p.grad is not None)
    assert expected["average"] == sum(tensor.nbytes for tensor in trainer.average.values())
    assert expected["KL reference"] == expected["gradients"]


def test_adapters_hold_little_and_need_no_copy_for_the_kl() -> None:
    full, lora = (held(small_trainer(tune=tune, update={"kl": 0.1}, lora={"rank": 2})) for tune in ("full", "lora"))
    assert lora["optimizer"] < 0.2 * full["optimizer"]
    assert lora["KL reference"] == 0


@pytest.mark.parametrize("credit", ["noise", "picture"])
def test_the_states_that_are_kept_are_counted(credit: str) -> None:
    trainer = small_trainer(credit=credit, rollout={"prompts": 3, "group_size": 12, "micro_batch": 12})
    plan = trainer.recipe.plan_at(0, trainer.grid)
    sampled = trainer.sample(plan, trainer.encode(PROMPTS[:3]), range(3), lambda rows, latents: None)
    rollouts = [sampled, to_pictures(sampled, 12)] if credit == "picture" else [sampled]
    tensors: list[Tensor] = [sampled.latents]
    tensors += [part for one in rollouts for t in one.transitions for part in (t.states, t.means, t.x_next)]
    kept = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
    assert 0.9 < kept / held(trainer)["kept states"] < 1.1
