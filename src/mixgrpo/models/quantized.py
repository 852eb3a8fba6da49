"""A frozen network in fewer bits, by diffusers' back-ends for that: adapters are trained on top of it in float32."""

from importlib.util import find_spec
from typing import Any

from diffusers import ModelMixin
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mixgrpo.recipe.sections import Quantization


def quantization_config(kind: Quantization) -> Any:
    """What `from_pretrained` takes."""
    if find_spec("torchao") is None:
        raise ValueError(f"model.quantize = {kind}: needs torchao: pip install 'mixgrpo[quantize]'")
    from diffusers import TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig(version=2))


def quantized_layers(network: ModelMixin) -> list[nn.Linear]:
    """Those that it is applied to."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def quantized_bytes(weight: Tensor) -> int:
    """Of a layer's weight in int8, with a scale and a zero point for each row."""
    return weight.numel() + weight.shape[0] * (weight.element_size() + 1)


def stored_bytes(tensor: Tensor) -> int:
    """A quantised tensor's `nbytes` are those of the tensor that it stands for."""
    if isinstance(tensor, nn.Parameter):
        tensor = tensor.data
    if not is_traceable_wrapper_subclass(tensor):
        return tensor.nbytes
    names, _ = tensor.__tensor_flatten__()
    return sum(stored_bytes(getattr(tensor, name)) for name in names)
