import os
import shutil

import pytest
import torch

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt
from mixgrpo.recipe.sections import SpeedConfig
from mixgrpo.training.speed import speed_up
from runs import small_trainer


def fresh_flux() -> FlowModel:
    return adapt(pipelines.flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)


@torch.no_grad()
def velocity(model: FlowModel, rows: int) -> torch.Tensor:
    noise = torch.randn(rows, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    return model.velocity(noise, torch.full((rows,), 0.5), model.encode(prompts_of(["a red circle"] * rows)))


@pytest.mark.parametrize("lever", ["share_computation", "overlap_rewards", "fused_optimizer", "channels_last"])
def test_a_lever_changes_no_result(lever: str) -> None:
    """Two iterations with and without it: the second draws with what the first has learned."""
    with_it, without = small_trainer(), small_trainer(speed={lever: False})
    for _ in range(2):
        expected, got = with_it.iterate(), without.iterate()
        assert got["rewards"]["brightness"] == pytest.approx(expected["rewards"]["brightness"], abs=1e-4)
        assert got["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-2)


def test_sharing_is_what_saves_calls() -> None:
    shared, alone = small_trainer().iterate(), small_trainer(speed={"share_computation": False}).iterate()
    assert (shared["update_rows"], alone["update_rows"]) == (3 * (1 + 4), 3 * (4 + 4))


def test_a_vae_in_another_layout_draws_the_same() -> None:
    model = fresh_flux()
    latents = torch.randn(3, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    before = model.decode(latents)
    speed_up(model, SpeedConfig(channels_last=True))
    assert model.pipeline.vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model.decode(latents), before, atol=1e-5, rtol=0)


@pytest.mark.long
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")
def test_a_compiled_model_computes_the_same_for_any_number_of_rows() -> None:
    model = fresh_flux()
    expected = {rows: velocity(model, rows) for rows in (2, 5)}
    speed_up(model, SpeedConfig(compile=True))
    for rows, values in expected.items():
        torch.testing.assert_close(velocity(model, rows), values, atol=1e-4, rtol=1e-4)


def test_without_a_compiler_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"speed.compile = True: .* there is no no-such-compiler"):
        speed_up(fresh_flux(), SpeedConfig(compile=True))
