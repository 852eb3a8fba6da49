import torch

import pipelines
from mixgrpo.models.load import adapt
from mixgrpo.training.policy import make_policy
from runs import small_recipe, small_trainer, weights


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
