"""Weights that do not fit are refused: the libraries only warn, fill in random numbers and go on. And how images are
decoded.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors.torch import load_file, save_file

from mixgrpo import tiny
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import load_model, load_network
from mixgrpo.recipe.sections import ModelConfig

Weights = dict[str, torch.Tensor]

NAMES = {
    "text_encoder": "encoder.layers.0.mlp.fc1.weight",
    "text_encoder_2": "encoder.block.0.layer.0.SelfAttention.q.weight",
    "transformer": "x_embedder.weight",
    "vae": "decoder.conv_in.weight",
}


def changed_copy(folder: Path, network: str, change: Callable[[Weights, str], None]) -> Path:
    shutil.copytree(tiny.path(), folder)
    (file,) = (folder / network).glob("*.safetensors")
    weights = load_file(file)
    (name,) = (name for name in weights if name.endswith(NAMES[network]))
    change(weights, name)
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def lack(weights: Weights, name: str) -> None:
    del weights[name]


def rename(weights: Weights, name: str) -> None:
    weights[f"{name}.old"] = weights.pop(name)


def add(weights: Weights, name: str) -> None:
    weights[f"{name}.old"] = weights[name].clone()


def cut(weights: Weights, name: str) -> None:
    weights[name] = weights[name][1:].clone()


@pytest.mark.parametrize("network", NAMES)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lack, "lack {name}"),
        (rename, "lack {name}, have no use for {name}.old"),
        (add, "have no use for {name}.old"),
        (cut, "have another shape for {name}"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    network: str, change: Callable[[Weights, str], None], words: str, tmp_path: Path
) -> None:
    folder = changed_copy(tmp_path / "model", network, change)
    said = re.escape(words).replace(re.escape("{name}"), rf"[\w.]*{re.escape(NAMES[network])}")
    with pytest.raises(ValueError, match=rf"the weights of {network} in .*model {said}$") as refusal:
        load_model(ModelConfig(path=str(folder), dtype="float32", height=64, width=64))
    assert "\n" not in str(refusal.value)


def test_many_names_are_shortened(tmp_path: Path) -> None:
    folder = changed_copy(tmp_path / "model", "vae", lambda weights, _: weights.clear())
    with pytest.raises(ValueError, match=r"lack [\w.]+, [\w.]+, [\w.]+ and \d\d+ more$"):
        load_model(ModelConfig(path=str(folder), dtype="float32", height=64, width=64))


def test_a_single_network_is_checked_too(tmp_path: Path) -> None:
    folder = changed_copy(tmp_path / "model", "transformer", lack)
    with pytest.raises(ValueError, match=r"the weights in .*transformer lack x_embedder.weight$"):
        load_network(FluxTransformer2DModel, folder / "transformer", torch.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_fit_are_what_diffusers_loads(dtype: Literal["float32", "bfloat16"]) -> None:
    model = load_model(ModelConfig(path="tiny", dtype=dtype, height=64, width=64))
    stock = FluxPipeline.from_pretrained(tiny.path(), dtype=getattr(torch, dtype))
    for name in NAMES:
        loaded, expected = getattr(model.pipeline, name).state_dict(), getattr(stock, name).state_dict()
        assert loaded.keys() == expected.keys()
        for key, tensor in expected.items():
            assert loaded[key].dtype == tensor.dtype
            assert torch.equal(loaded[key], tensor)


def test_images_decoded_one_by_one_are_the_same() -> None:
    at_once, one_by_one = (tiny_model(vae_slicing=sliced) for sliced in (False, True))
    latents = torch.randn(3, *at_once.latent_shape, generator=torch.Generator().manual_seed(0))
    calls = []
    one_by_one.pipeline.vae.decoder.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    torch.testing.assert_close(one_by_one.decode(latents), at_once.decode(latents), rtol=0, atol=1e-5)
    assert calls == [1, 1, 1]


def test_large_images_are_decoded_in_tiles() -> None:
    """The tiny model's are larger than a tile from 64 pixels on."""
    whole, tiled = (tiny_model(128, vae_tiling=tiled) for tiled in (False, True))
    latents = torch.randn(1, *whole.latent_shape, generator=torch.Generator().manual_seed(0))
    sides = []
    tiled.pipeline.vae.decoder.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    pixels = tiled.decode(latents)
    assert pixels.shape == (1, 1, 3, 128, 128)
    assert 0 < (pixels - whole.decode(latents)).abs().mean() < 0.1  # of noise
    assert max(sides) == 16


def tiny_model(size: int = 64, vae_slicing: bool = False, vae_tiling: bool = False) -> FlowModel:
    settings = ModelConfig(
        path="tiny", dtype="float32", height=size, width=size, vae_slicing=vae_slicing, vae_tiling=vae_tiling
    )
    return load_model(settings)
