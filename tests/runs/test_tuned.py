"""A run's result on an accelerator: where its weights are while it draws."""

from pathlib import Path

import pytest
import torch
from torch import nn

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.text_cache import encoder_of
from mixgrpo.parallel import distributed
from mixgrpo.planning.stand_in import STAND_IN, bytes_on_device, present
from mixgrpo.runs.export import export
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.tuned import Tuned, load_tuned
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.generation import images_of
from runs import small_trainer


@pytest.fixture(scope="module", params=["lora", "full"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After an iteration, exported."""
    path = tmp_path_factory.mktemp(request.param)
    pipelines.flux().save_pretrained(path / "model")
    model = {"path": str(path / "model"), "dtype": "float32", "height": 32, "width": 24, "guidance_scale": 3.5}
    trainer = small_trainer(tune=request.param, update={"learning_rate": 1e-2}, model=model)
    trainer.iterate()
    folder = RunFolder(path / "run")
    folder.create(trainer.recipe)
    export(trainer.model, folder, lora=request.param == "lora")
    return folder.path


def drawn(tuned: Tuned, model: FlowModel) -> torch.Tensor:
    noise = KeyedNoise(0, 0, model.latent_shape)
    encode = encoder_of(model, tuned.recipe.speed, 2)
    ((_, pixels),) = images_of(model, encode, prompts_of(["a star"]), noise, steps=2, micro_batch=2)
    return pixels


def blocks(model: FlowModel) -> list[nn.Module]:
    return [block for name in model.blocks for block in getattr(model.pipeline.transformer, name)]


def test_networks_are_on_the_device_where_there_is_room(run: Path) -> None:
    with present():
        tuned = load_tuned(run, STAND_IN)
        assert {parameter.device for parameter in tuned.model.pipeline.transformer.parameters()} == {STAND_IN}
        assert {parameter.device.type for parameter in tuned.model.pipeline.text_encoder_2.parameters()} == {"cpu"}
        assert drawn(tuned, tuned.model).device == STAND_IN


def test_blocks_come_and_go_where_there_is_none(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "device_memory", lambda device: 2**10)
    with present():
        tuned = load_tuned(run, STAND_IN)
        seen: list[str] = []
        for block in blocks(tuned.model):
            tensors = [*block.parameters()]
            assert {tensor.device.type for tensor in tensors} == {"cpu"}
            block.register_forward_pre_hook(lambda part, _: seen.extend(p.device.type for p in part.parameters()))
        held = bytes_on_device()
        with tuned.base() as base:
            for model in (tuned.model, base):
                assert drawn(tuned, model).device == STAND_IN
        assert {*seen} == {STAND_IN.type}
        assert all(tensor.device.type == "cpu" for block in blocks(tuned.model) for tensor in block.parameters())
        assert bytes_on_device() < 1.05 * held


def test_blocks_that_come_compute_the_same(run: Path) -> None:
    from mixgrpo.models.resting import bring_block_by_block

    tuned = load_tuned(run, torch.device("cpu"))
    whole = drawn(tuned, tuned.model)
    bring_block_by_block(tuned.model.pipeline.transformer, tuned.model.blocks, torch.device("cpu"))
    assert torch.equal(drawn(tuned, tuned.model), whole)
