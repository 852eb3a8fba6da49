"""The result of a run, as diffusers reads it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import ModelMixin
from peft import get_peft_model_state_dict

from mixgrpo.models.base import FlowModel
from mixgrpo.parallel import distributed
from mixgrpo.section import alternatives

from .atomic import readable
from .folder import RunFolder
from .tuned import load_tuned

_DTYPES = ("float32", "bfloat16", "float16")


def export(model: FlowModel, folder: RunFolder, *, lora: bool, dtype: torch.dtype | None = None) -> list[Path]:
    """Write the model's weights as they are: LoRA adapters for `pipe.load_lora_weights`, or a folder for each trained
    network. `dtype`: of full networks, which are trained in float32; None leaves it. Returns what was written.
    """
    if lora:
        return [_replace(folder.lora, lambda path: _save_adapters(model, path))]
    written = []
    for name, network in model.networks.items():
        with _as_dtype(network, dtype):
            written.append(_replace(folder.network(name), network.save_pretrained))
    return written


@contextmanager
def _as_dtype(network: ModelMixin, dtype: torch.dtype | None) -> Iterator[None]:
    """The live weights stay as they are on the device; converted copies are on the CPU."""
    live = {name: parameter.data for name, parameter in network.named_parameters()}
    try:
        if dtype is not None:
            for parameter in network.parameters():
                parameter.data = parameter.data.to("cpu", dtype)
        yield
    finally:
        for name, parameter in network.named_parameters():
            parameter.data = live[name]


def _save_adapters(model: FlowModel, path: Path) -> None:
    layers, metadata = {}, {}
    for name, network in model.networks.items():
        adapters = get_peft_model_state_dict(network)
        layers[f"{name}_lora_layers"] = {key: tensor.contiguous() for key, tensor in adapters.items()}
        # Without the metadata a reader takes alpha to be the rank.
        metadata[f"{name}_lora_adapter_metadata"] = network.peft_config["default"].to_dict()
    type(model.pipeline).save_lora_weights(path, **layers, **metadata)


def _replace(final: Path, save: Callable[[Path], object]) -> Path:
    """Complete or not there: written under a temporary name, then renamed."""
    temporary = final.with_name(f".{final.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    save(temporary)
    for file in temporary.rglob("*.safetensors"):
        readable(file)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    return final


def export_run(run: Path, checkpoint: str, *, merge: bool = False, dtype: str | None = None) -> list[Path]:
    """The result of a run at a checkpoint: `last`, `best` or an iteration. `merge`: LoRA adapters become part of the
    network.
    """
    tuned = load_tuned(run, distributed.device(), checkpoint)
    lora = tuned.recipe.tune == "lora"
    if merge and not lora:
        raise ValueError("--merge: this run trained the weights themselves, there are no adapters to merge")
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(f"--dtype {dtype}: must be {alternatives(_DTYPES)}")
    if merge:
        for network in tuned.model.networks.values():
            network.fuse_lora()
            network.unload_lora()
    target = getattr(torch, dtype or tuned.recipe.model.dtype)
    return export(tuned.model, RunFolder(run), lora=lora and not merge, dtype=target)
