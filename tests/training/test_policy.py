import pytest
import torch
from peft import LoraConfig as PeftLoraConfig

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import adapt
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer
from runs import PROMPTS, brightness, small_recipe, small_trainer, weights


def test_trained_weights_are_float32_whatever_the_models_precision() -> None:
    for tune in ("full", "lora"):
        model = adapt(pipelines.flux().to(torch.bfloat16), height=32, width=24, guidance_scale=3.5)
        trained = make_policy(model, small_recipe(tune=tune)).weights.parameters
        assert {parameter.dtype for parameter in trained.values()} == {torch.float32}


def test_lora_has_the_recipes_rank_and_scale() -> None:
    trainer = small_trainer(tune="lora", lora={"rank": 3, "alpha": 12})
    down = [parameter for name, parameter in weights(trainer).items() if "lora_A" in name]
    assert {len(parameter) for parameter in down} == {3}
    (config,) = trainer.model.networks["transformer"].peft_config.values()
    assert config.lora_alpha == 12


def test_adapters_start_from_the_recipes_seed() -> None:
    first, again, other = (weights(small_trainer(tune="lora", seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_first_ratio_of_one_in_bfloat16_means_one_precision() -> None:
    """Rollout and update both run under autocast; in float32 their numbers differ from it by far more than rounding."""
    model = {"path": "given", "dtype": "bfloat16", "height": 32, "width": 24}
    rollout = {"prompts": 3, "group_size": 4, "micro_batch": 12}
    trainer = small_trainer(model=model, rollout=rollout)
    network = trainer.model.networks["transformer"]
    dtypes: set[torch.dtype] = set()
    network.transformer_blocks[0].register_forward_hook(lambda module, args, out: dtypes.add(out[1].dtype))
    assert trainer.iterate()["first_ratio_error"] < 1e-3
    assert torch.float32 not in dtypes


def test_dropout_of_adapters_does_not_set_rollout_and_update_apart() -> None:
    """Both run without it. With adapters that start at 0 the first iteration would not show it, so it is the second."""
    model = adapt(pipelines.flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
    recipe = small_recipe(tune="lora", update={"learning_rate": 1e-2})
    policy = make_policy(model, recipe, PeftLoraConfig(r=4, lora_alpha=8, lora_dropout=0.5))
    trainer = Trainer(recipe, policy, {"brightness": brightness}, prompts_of(PROMPTS))
    assert not any(module.training for network in model.networks.values() for module in network.modules())
    trainer.iterate()
    assert trainer.iterate()["first_ratio_error"] < 1e-6


@pytest.mark.parametrize("tune", ["full", "lora"])
def test_rollout_and_update_round_alike_in_bfloat16(tune: str) -> None:
    """Model calls of the same rows give the same bits, before training and after it."""
    trainer = small_trainer(
        tune=tune,
        model={"path": "given", "dtype": "bfloat16", "height": 32, "width": 24},
        rollout={"prompts": 1, "group_size": 4, "micro_batch": 4},
        speed={"share_computation": False},
    )
    for _ in range(3):
        assert trainer.iterate()["first_ratio_error"] < 1e-6


def test_float16_is_refused() -> None:
    model = {"path": "given", "dtype": "float16", "height": 32, "width": 24}
    with pytest.raises(ValueError, match=r"model.dtype = float16: .* Train in bfloat16 or float32"):
        small_trainer(model=model)


def test_cudnn_attention_is_off() -> None:
    """Its gradients are wrong; tests/gpu shows it."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    small_trainer()
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
