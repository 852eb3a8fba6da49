import pytest
from torch import Tensor

from mixgrpo.data.prompts import prompts_of
from mixgrpo.objectives.image_credit import toward_images
from mixgrpo.runs.memory import held
from runs import PROMPTS, small_trainer


def test_what_is_held_is_what_the_tensors_are() -> None:
    trainer = small_trainer(objective={"kl_weight": 0.1}, update={"ema_decay": 0.9})
    expected = held(trainer)
    trainer.iterate()
    policy = trainer.policy.weights
    moments = [policy.optimizer.state[parameter] for parameter in policy.parameters.values()]
    held_moments = sum(state[name].nbytes for state in moments for name in ("exp_avg", "exp_avg_sq"))
    assert expected["optimizer"] == held_moments
    assert expected["gradients"] == sum(p.nbytes for p in policy.parameters.values())
    assert expected["average"] == sum(tensor.nbytes for tensor in policy.average.values())
    assert expected["KL reference"] == expected["gradients"]


def test_adapters_hold_little_and_need_no_copy_for_the_kl() -> None:
    full, lora = (
        held(small_trainer(objective={"kl_weight": 0.1}, **tuning))
        for tuning in ({"tune": "full"}, {"tune": "lora", "lora": {"rank": 2}})
    )
    assert lora["optimizer"] < 0.2 * full["optimizer"]
    assert lora["KL reference"] == 0


@pytest.mark.parametrize("objective", ["clipped-ratio", "image-credit"])
def test_the_states_that_are_kept_are_counted(objective: str) -> None:
    rollout = {"prompts": 3, "group_size": 12, "micro_batch": 12}
    trainer = small_trainer(rollout=rollout, objective={"type": objective})
    sampled = trainer.generate(0, trainer.plan_at(0), prompts_of(PROMPTS[:3]), range(3)).rollout
    tensors: list[Tensor] = [sampled.latents]
    tensors += [part for t in sampled.transitions for part in (t.states, t.means, t.x_next)]
    if objective == "image-credit":
        tensors += [toward_images(t, sampled.latents, 12) for t in sampled.transitions]
    kept = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
    assert 0.9 < kept / held(trainer)["kept states"] < 1.1
