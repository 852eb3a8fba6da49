"""A stand-in for a GPU, to plan and to test with: its tensors have a shape, a dtype and a device, but no memory and no
values.

torch lets a Python module register as an accelerator. Here every tensor on it is a fake tensor, so that work on the CPU
is real, work on the device only computes shapes, and mixing the two is the same error as on a GPU. The device comes to
exist when this module is imported; `present` says whether torch reports it as available.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorConverter, FakeTensorMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "stand_in"


class _Forgetful(FakeTensorConverter):
    """Keeps no reference to what it converts, so that modules can exchange their parameters."""

    def set_tensor_memo(self, t: Tensor, v: Tensor) -> None: ...


class _OnesMode(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Every number that is read is 1, and so is every byte of an image: rewards get real images. For one thread."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.fake_tensor_converter = _Forgetful()

    def dispatch(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return torch.ones((), dtype=args[0].dtype).item()
        if func is torch.ops.aten._to_copy.default and args[0].dtype == torch.uint8:
            return torch.ones(args[0].shape, dtype=torch.uint8)
        return super().dispatch(func, types, args, kwargs or {})


_fake = _OnesMode()
_new_library: Any = torch.library.Library
_library = _new_library("aten", "IMPL")

# What autocast runs in 16 bits and in 32 bits on CUDA, as far as these models use it.
_IN_16_BITS = ("linear", "matmul", "addmm", "baddbmm", "bmm", "mm", "conv2d", "conv3d", "scaled_dot_product_attention")
_IN_32_BITS = ("layer_norm", "group_norm", "rms_norm", "softmax.int", "pow.Tensor_Scalar", "exp", "sum", "cumsum")


class _Module(_DummyBackendModule):
    """What torch asks of `torch.stand_in`."""

    available = False

    def is_available(self) -> bool:
        return self.available

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        """Free and in all: a terabyte."""
        return 2**40, 2**40

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_module = _Module()
_setup_privateuseone_for_python_backend(NAME, backend_module=_module)
STAND_IN = torch.device(NAME, 0)


@contextmanager
def present() -> Iterator[None]:
    """A machine that has this accelerator."""
    _module.available = True
    try:
        yield
    finally:
        _module.available = False


def bytes_on_device() -> int:
    """Of all tensors on it that are alive."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) is FakeTensor or isinstance(one, torch.nn.Parameter)]
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors if t.device == STAND_IN}
    return sum(storages.values())


def _empty(size: Sequence[int], dtype: torch.dtype | None = None, memory_format: Any = None, **_: object) -> Tensor:
    return _placed(
        torch.empty(size, dtype=dtype, device="meta", memory_format=memory_format or torch.contiguous_format)
    )


def _empty_strided(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype | None = None, **_: object) -> Tensor:
    return _placed(torch.empty_strided(size, stride, dtype=dtype, device="meta"))


def _placed(meta: Tensor) -> Tensor:
    return FakeTensor(_fake, meta, STAND_IN)


def _copy_from(source: Tensor, into: Tensor, non_blocking: bool = False) -> Tensor:
    return into


def _autocast(name: str, dtype: Callable[[], torch.dtype]) -> None:
    operator, _, overload = name.partition(".")
    compute = getattr(getattr(torch.ops.aten, operator), overload or "default")
    key = torch._C._parse_dispatch_key("AutocastPrivateUse1")
    assert key is not None
    own = torch._C.DispatchKeySet(key)

    def cast(value: Any) -> Any:
        castable = isinstance(value, Tensor) and value.device == STAND_IN and value.is_floating_point()
        return _cast(value, dtype()) if castable else value

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(own):
            return compute(*map(cast, args), **{key: cast(value) for key, value in kwargs.items()})

    _library.impl(name, run, "AutocastPrivateUse1")


_casts: dict[Tensor, Tensor] | None = None


@contextmanager
def remembered_casts() -> Iterator[None]:
    """Autocast keeps its copies of the weights that are trained until it is left."""
    global _casts
    _casts = {}
    try:
        yield
    finally:
        _casts = None


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    if _casts is None or value.dtype == dtype or not (value.requires_grad and value.is_leaf):
        return value.to(dtype)
    if value not in _casts:
        _casts[value] = value.to(dtype)
    return _casts[value]


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Fused, as on a GPU: the scores of all pairs of tokens never exist at once."""
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    fused = torch.ops.aten._scaled_dot_product_efficient_attention
    output: Tensor = fused(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]
    return output


_library.impl("scaled_dot_product_attention", _attention, "AutogradPrivateUse1")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")
_others = _new_library("_", "IMPL", "AutocastPrivateUse1")
_others.fallback(torch.library.fallthrough_kernel)
for _name in _IN_16_BITS:
    _autocast(_name, lambda: torch.get_autocast_dtype(NAME))
for _name in _IN_32_BITS:
    _autocast(_name, lambda: torch.float32)
