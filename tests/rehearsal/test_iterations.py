"""Whole iterations of the big models at their true size, by the unchanged trainer, without a GPU.

A tensor on the wrong device or of the wrong dtype is an error of torch's, as on a GPU. What torch does not check is
asserted.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from true_sizes import PARAMETERS, true_size

from mixgrpo.data.prompts import prompts_of
from mixgrpo.planning.stand_in import STAND_IN, bytes_on_device, present
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe
from mixgrpo.runs import memory
from mixgrpo.runs.preflight import preflight
from mixgrpo.training.generation import Generation, images_of
from mixgrpo.training.policy import make_policy
from mixgrpo.training.snapshot import Snapshot
from mixgrpo.training.trainer import Trainer

PROMPTS = prompts_of(["a red circle"])
RECIPES = {
    "flux-dev": ("flux-dev-hpdv2",),
    "sd35-medium": ("sd35-medium-geneval",),
    "sd35-large": ("sd35-medium-geneval", "model.path=stabilityai/stable-diffusion-3.5-large"),
    "qwen-image": ("qwen-image-ocr-lora",),
    "klein-4b": ("flux2-klein-base-lora", "model.path=black-forest-labs/FLUX.2-klein-base-4B"),
    "klein-9b": ("flux2-klein-base-lora",),
    "z-image": ("z-image-lora",),
}
# A short plan with two trained steps, of which the images share the first, and two optimizer steps.
SHORT = """grid.steps=4 grid.shift=model window.strategy=frozen window.range=[0,2] window.size=2 rollout.prompts=1
    rollout.group_size=2 rollout.micro_batch=2 update.minibatches=2 speed.overlap_rewards=false"""
LORA, FULL, KL, NO_KL = "tune=lora", "tune=full", "objective.kl_weight=0.1", "objective.kl_weight=0"


def reward(images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
    """The images have no content. That of a group differ, or there would be nothing to learn."""
    return [float(number) for number in range(len(images))]


def recipe_of(model: str, *changes: str) -> Recipe:
    recipe, *path = RECIPES[model]
    return load_recipe(recipe, [*path, *SHORT.split(), *changes])


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        pytest.param("flux-dev", [FULL, NO_KL], marks=pytest.mark.long),
        pytest.param(
            "flux-dev",
            [LORA, KL, "objective.type=image-credit", "update.ema_decay=0.9"],
            marks=pytest.mark.long,
        ),
        ("sd35-medium", [FULL, KL, "suffix.solver=dpm++2-midpoint", "speed.keep_text_encoders=true"]),
        pytest.param("sd35-medium", [LORA, KL, "update.gradient_checkpointing=true"], marks=pytest.mark.long),
        pytest.param("sd35-large", [FULL, NO_KL, "update.ema_decay=0.9"], marks=pytest.mark.long),
        ("sd35-large", [LORA, NO_KL, "speed.share_computation=false"]),
        pytest.param("qwen-image", [FULL, KL], marks=pytest.mark.long),
        pytest.param("qwen-image", [LORA, NO_KL, "model.guidance_scale=1"], marks=pytest.mark.long),
        ("klein-4b", [LORA, KL]),
        pytest.param("klein-9b", [FULL, NO_KL], marks=pytest.mark.long),
        ("z-image", [LORA, NO_KL]),
        pytest.param("z-image", [FULL, KL], marks=pytest.mark.long),
    ],
)
def test_an_iteration_with_evaluation_and_restart(model: str, changes: list[str]) -> None:
    with present():
        before = bytes_on_device()
        recipe = recipe_of(model, *changes)
        network = true_size(recipe.model)
        trainer = Trainer(recipe, make_policy(network, recipe), dict.fromkeys(recipe.rewards, reward), PROMPTS)
        check_weights(trainer)
        generation = draw(trainer)
        check_weights(trainer)
        update(trainer, generation)
        check_optimizer(trainer)
        trainer.restore(from_disk(trainer.snapshot()))
        check_optimizer(trainer)
        trainer.policy.weights.step(1e-3)
        evaluate(trainer)
        del generation
        held = memory.held(trainer)
        lasting = sum(held.values()) - held["gradients"] - held["kept states"]
        assert bytes_on_device() - before == pytest.approx(lasting, rel=1e-3)
        print(model, *changes, {name: f"{size / memory.GIB:.2f} GiB" for name, size in held.items() if size})


@pytest.mark.parametrize("model", RECIPES)
def test_a_velocity_runs_every_block(model: str) -> None:
    with present():
        settings = recipe_of(model).model
        flow = true_size(settings, all_blocks=True)
        assert sum(p.numel() for p in flow.pipeline.transformer.parameters()) == PARAMETERS[settings.path]
        x, sigma = torch.zeros(1, *flow.latent_shape, device=STAND_IN), torch.ones(1, device=STAND_IN)
        with torch.no_grad():
            velocity = flow.velocity(x, sigma, flow.encode(PROMPTS))
    assert_float32(velocity)
    assert velocity.shape == x.shape


def test_the_preflight_keeps_its_copy_of_the_weights_off_the_device() -> None:
    with present():
        recipe = recipe_of("sd35-medium", FULL, NO_KL)
        trainer = Trainer(recipe, make_policy(true_size(recipe.model), recipe), {}, PROMPTS)
        before = bytes_on_device()
        findings = preflight(trainer, PROMPTS)
        assert next(findings).ok
        assert bytes_on_device() == before


def draw(trainer: Trainer) -> Generation:
    generation = trainer.generate(0, trainer.plan_at(0), PROMPTS, range(1))
    assert {tensor.dtype for tensor in generation.conditioning.per_prompt.values() if tensor.is_floating_point()} == {
        torch.bfloat16
    }
    rollout = generation.rollout
    assert_float32(rollout.latents)
    assert len(rollout.transitions) == 2
    for transition in rollout.transitions:
        assert_float32(transition.states, transition.means, transition.x_next)
    return generation


def update(trainer: Trainer, generation: Generation) -> None:
    scores = {name: values.view(1, -1) for name, values in trainer.scorer.collect().values.items()}
    signal = trainer.signal(scores, range(1))
    stats, norms = trainer.update(0, generation, signal)
    assert len(norms) == 2
    assert stats.sums().keys() >= {"loss", "clip_fraction"}
    assert ("kl" in stats.sums()) == trainer.objective.uses_reference


def evaluate(trainer: Trainer) -> None:
    settings = trainer.recipe.model
    with trainer.policy.weights.averaged(), trainer.precision():
        noise = trainer.noise_at(0)
        for _, images in images_of(trainer.model, trainer.encode, PROMPTS, noise, steps=2, micro_batch=1):
            assert_float32(images)
            assert images.shape == (1, 1, 3, settings.height, settings.width)


def from_disk(snapshot: Snapshot) -> Snapshot:
    """As a checkpoint gives it back: everything on the CPU."""
    return Snapshot(snapshot.iteration, {name: tensor.cpu() for name, tensor in snapshot.tensors.items()})


def check_weights(trainer: Trainer) -> None:
    """What trains is float32, everything else bfloat16; all of it in eval mode, and on the device unless it rests."""
    trained = trainer.policy.weights.parameters
    assert_float32(*trained.values())
    assert all(("lora" in name) == (trainer.recipe.tune == "lora") for name in trained)
    ids = {id(parameter) for parameter in trained.values()}
    kept = trainer.recipe.speed.keep_text_encoders
    for component, part in trainer.model.pipeline.components.items():
        if isinstance(part, nn.Module):
            rests = component.startswith("text_encoder") and not kept
            assert not any(module.training for module in part.modules())
            for parameter in part.parameters():
                assert parameter.device == (torch.device("cpu") if rests else STAND_IN)
                assert parameter.dtype == (torch.float32 if id(parameter) in ids else torch.bfloat16)


def check_optimizer(trainer: Trainer) -> None:
    """A fused optimizer counts its steps on the device. On the CPU it would fail there, and only there."""
    weights = trainer.policy.weights
    assert trainer.recipe.speed.fused_optimizer
    for parameter in weights.parameters.values():
        state = weights.optimizer.state[parameter]
        assert state.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert_float32(*state.values())
    assert_float32(*weights.average.values())


def assert_float32(*tensors: Tensor) -> None:
    """On the device."""
    for tensor in tensors:
        assert (tensor.device, tensor.dtype) == (STAND_IN, torch.float32)
