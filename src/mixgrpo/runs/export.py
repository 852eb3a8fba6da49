"""The result of a run, as diffusers reads it."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers import ModelMixin
from peft import get_peft_model_state_dict
from torch import Tensor

from mixgrpo.models.base import FlowModel
from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import class_of, whole
from mixgrpo.section import alternatives

from .atomic import readable
from .folder import RunFolder
from .tuned import load_tuned

_DTYPES = ("float32", "bfloat16", "float16")


def export(model: FlowModel, folder: RunFolder, *, lora: bool, dtype: torch.dtype | None = None) -> list[Path]:
    """Write the model's weights as they are: LoRA adapters for `pipe.load_lora_weights`, or a folder for each trained
    network. `dtype`: of full networks, which are trained in float32; None leaves it. Returns what was written. All
    processes call this, because each may hold a share; the first one writes.
    """
    first = distributed.rank() == 0
    if lora:
        adapters = {name: _gathered(get_peft_model_state_dict(network)) for name, network in model.networks.items()}
        if first:
            _replace(folder.lora, lambda path: _save_adapters(model, adapters, path))
        return [folder.lora]
    for name, network in model.networks.items():
        weights = _gathered(network.state_dict(), dtype)
        if first:
            _replace(folder.network(name), _with_weights(network, weights).save_pretrained)
    return [folder.network(name) for name in model.networks]


def _gathered(weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Copies on the first process's CPU, one tensor after the other. Nothing in the other processes."""
    first, copies = distributed.rank() == 0, {}
    for name, tensor in weights.items():
        complete = whole(tensor.detach())
        if first:
            copies[name] = complete.to("cpu", dtype if complete.is_floating_point() else None, copy=True).contiguous()
    return copies


def _with_weights(network: ModelMixin, weights: Mapping[str, Tensor]) -> ModelMixin:
    """A network like it, without the weights' memory a second time."""
    with torch.device("meta"):
        other = class_of(network).from_config(network.config)
    other.load_state_dict(weights, assign=True)
    return other


def _save_adapters(model: FlowModel, adapters: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
    layers, metadata = {}, {}
    for name, network in model.networks.items():
        layers[f"{name}_lora_layers"] = adapters[name]
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
    tuned = load_tuned(run, torch.device("cpu"), checkpoint, quantized=not merge)
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
