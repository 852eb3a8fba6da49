import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.common import on_white, timestep
from mixgrpo.models.load import ADAPTERS, adapt, load_model
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import ode_plan
from mixgrpo.sampling.rollout import rollout

TEXTS = ["a red circle", "two blue squares left of a green star"]
PROMPTS = prompts_of(TEXTS)
STEPS = 8


@pytest.mark.parametrize("larger", [False, True])
@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_an_euler_plan_is_the_stock_pipeline(model: PipelineModel, guidance: float, larger: bool) -> None:
    """Same noise, same prompts, noise level 0: same latents and same images. One prompt at a time, because
    Qwen-Image-2.1's stock pipeline draws something else for a prompt beside a longer one.
    """
    height, width = (2 * model.width, model.height) if larger else (model.height, model.width)
    model = replace(model, guidance_scale=guidance, height=height, width=width)
    noise = KeyedNoise(0, 0, model.latent_shape)
    ours = rollout(model, ode_plan(model.grid(STEPS)), model.encode(PROMPTS), noise, group_size=1, micro_batch=2)

    model.pipeline.set_progress_bar_config(disable=True)
    latents, images = model.stock_latents(ours.latents), model.decode(ours.latents)[:, 0]
    errors = []
    for i, text in enumerate(TEXTS):
        for output_type, result in (("latent", latents), ("pt", images)):
            stock = model.pipeline(
                prompt=text,
                height=model.height,
                width=model.width,
                num_inference_steps=STEPS,
                latents=noise.initial(i, None)[None],
                output_type=output_type,
                return_dict=False,
                **model.stock_options,
            )[0]
            if output_type == "pt" and stock.shape[1] == 4:
                stock = 1 + stock[:, 3:] * (stock[:, :3] - 1)  # RGBA on white
            errors.append(((result[i] - stock[0]).norm() / stock.norm()).item())
    print(f"{type(model.pipeline).__name__} {model.height} x {model.width}, guidance {guidance}: {max(errors):.1e}")
    assert max(errors) < 1e-4


def test_guidance_matters(model: PipelineModel) -> None:
    """Or the test above would not show that it is right."""
    weaker = replace(model, guidance_scale=2.0)
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    conditioning, sigma = model.encode(PROMPTS), torch.full((2,), 0.7)
    strong, weak = model.velocity(x, sigma, conditioning), weaker.velocity(x, sigma, conditioning)
    assert (strong - weak).norm() > 1e-2 * weak.norm()


def test_rows_are_independent(model: PipelineModel) -> None:
    """Each row has its own sigma and prompt; padding to the longest prompt of a batch changes nothing."""
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.9, 0.2])
    together = model.velocity(x, sigma, model.encode(PROMPTS))
    for i, prompt in enumerate(PROMPTS):
        alone = model.velocity(x[i : i + 1], sigma[i : i + 1], model.encode([prompt]))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)
    assert together.dtype == torch.float32


def test_lora_targets_and_blocks_exist(model: PipelineModel) -> None:
    (network,) = model.networks.values()
    for name in model.blocks:
        blocks = network.get_submodule(name)
        assert isinstance(blocks, nn.ModuleList)
        assert len(blocks) > 0
    modules = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    for target in model.lora_targets:
        assert any(name.endswith(f".{target}") for name in modules), target


def test_lora_reaches_every_block() -> None:
    model = adapt(pipelines.flux(), 32, 24)
    network = model.networks["transformer"]
    adapted = get_peft_model(network, LoraConfig(r=2, target_modules=list(model.lora_targets)))
    trained = {name.split(".lora_")[0] for name, p in adapted.named_parameters() if p.requires_grad}
    for name in model.blocks:
        for i in range(len(network.get_submodule(name))):
            assert any(f"{name}.{i}." in trained_name for trained_name in trained)


def test_decode_gives_one_frame_in_the_unit_range(model: PipelineModel) -> None:
    images = model.decode(3 * torch.randn(2, *model.latent_shape))
    assert images.shape == (2, 1, 3, model.height, model.width)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1


def test_other_networks_share_everything_else(model: PipelineModel) -> None:
    (name, network), *_ = model.networks.items()
    other = type(network).from_config(network.config)
    exchanged = model.with_networks({name: other})
    assert exchanged.networks[name] is other
    assert model.networks[name] is network
    assert exchanged.pipeline.vae is model.pipeline.vae
    assert exchanged.stock_options == model.stock_options


def test_the_timestep_is_rounded_to_the_dtype_and_never_to_an_integer() -> None:
    assert timestep(torch.tensor([0.98630137]), torch.float32).item() == pytest.approx(986.30137)
    assert timestep(torch.tensor([0.98630137]), torch.bfloat16).item() == 988


@pytest.mark.parametrize(
    "make", [pipelines.flux, pipelines.sd3, pipelines.qwen_image, pipelines.flux2_klein, pipelines.z_image]
)
def test_a_pipeline_folder_is_loaded_with_the_adapter_of_its_class(make: pipelines.Make, tmp_path: Path) -> None:
    pipeline = make()
    pipeline.save_pretrained(tmp_path)
    model = load_model(ModelConfig(path=str(tmp_path), dtype="float32", height=32, width=32))
    (network,) = model.networks.values()
    assert type(model.pipeline) is type(pipeline)
    assert not network.training
    for name, parameter in network.state_dict().items():
        assert torch.equal(parameter, pipeline.transformer.state_dict()[name])
    assert model.encode(PROMPTS).per_prompt["embeds"].dtype == torch.float32


def test_an_unsupported_pipeline_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(
        ValueError, match=f"StableDiffusionXLPipeline is not supported. Supported: {', '.join(ADAPTERS)}"
    ):
        load_model(ModelConfig(path=str(tmp_path)))


def test_sizes_are_never_rounded() -> None:
    with pytest.raises(ValueError, match="32 x 30: both must be multiples of 4"):
        adapt(pipelines.flux(), 32, 30)


def test_guidance_for_a_model_without_is_refused() -> None:
    pipeline = pipelines.flux()
    pipeline.transformer.register_to_config(guidance_embeds=False)
    with pytest.raises(ValueError, match=r"guidance_scale = 3.5: this FLUX has no guidance input"):
        adapt(pipeline, 32, 32, guidance_scale=3.5)


def test_a_distilled_klein_is_drawn_without_guidance_and_refuses_it() -> None:
    pipeline = pipelines.flux2_klein(is_distilled=True)
    distilled, base = adapt(pipeline, 32, 24), adapt(pipelines.flux2_klein(), 32, 24, guidance_scale=1.0)
    x = torch.randn(2, *base.latent_shape, generator=torch.Generator().manual_seed(0))
    sigma, conditioning = torch.full((2,), 0.7), base.encode(PROMPTS)
    assert torch.equal(distilled.velocity(x, sigma, conditioning), base.velocity(x, sigma, conditioning))
    with pytest.raises(ValueError, match=r"guidance_scale = 4.0: this FLUX.2 klein is distilled"):
        adapt(pipeline, 32, 24, guidance_scale=4.0)


def test_a_prompt_of_qwen_image_21_is_drawn_the_same_beside_a_longer_one() -> None:
    """The stock pipeline's own batch would move the image of the shorter one."""
    model = adapt(pipelines.qwen_image_21(), 32, 32)
    x = torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.9, 0.2, 0.5])
    prompts = [PROMPTS[0], PROMPTS[1], PROMPTS[0]]
    calls = []
    model.pipeline.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    together = model.velocity(x, sigma, model.encode(prompts))
    assert len(calls) == 2  # one for each length
    for i, prompt in enumerate(prompts):
        alone = model.velocity(x[i : i + 1], sigma[i : i + 1], model.encode([prompt]))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_the_transparent_parts_of_an_image_are_white() -> None:
    rgba = torch.tensor([1.0, -1.0, 0.0, -1.0]).view(1, 4, 1, 1).repeat(1, 1, 1, 2)
    rgba[:, 3, :, 1] = 1.0  # the second pixel is opaque
    assert torch.equal(on_white(rgba)[0, 0, :, 0].T, torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.5]]))


def test_noise_levels_that_come_with_qwen_image_21_are_kept() -> None:
    model = adapt(pipelines.qwen_image_21(sample_sigmas=[1.0, 0.7, 0.3]), 32, 32)
    other = adapt(pipelines.qwen_image_21(), 32, 32)
    assert model.grid(3).sigmas != other.grid(3).sigmas
    with pytest.raises(ValueError, match=r"8 steps: this pipeline has noise levels of its own .*, 3"):
        model.grid(8)


def test_qwen_image_21_never_cuts_a_prompt() -> None:
    with pytest.raises(ValueError, match=r"model.max_sequence_length = 64: Qwen-Image-2.1 never cuts"):
        adapt(pipelines.qwen_image_21(), 32, 32, max_sequence_length=64)


def test_kleins_grid_depends_on_the_number_of_steps() -> None:
    model = adapt(pipelines.flux2_klein(), 32, 24)
    coarse, fine = model.grid(6).sigmas, model.grid(12).sigmas
    assert all(abs(a - b) > 1e-3 for a, b in zip(coarse[1:-1], fine[2:-2:2], strict=True))
