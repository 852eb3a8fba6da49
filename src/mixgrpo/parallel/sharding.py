"""Weights, gradients and optimizer state split over processes, by torch's FSDP2.

Each process holds a share of every tensor. A block's weights are gathered for its forward and backward pass and let go
afterwards; its gradients are summed over processes and each keeps its share. So every forward of a sharded network is
made by all processes together, in the same order.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from . import distributed

Sharding = Literal["none", "full", "hybrid"]


def held_whole(frozen_bytes: float, trained: int, averaged: bool) -> float:
    """Bytes without sharding, of so many trained elements in float32: weights, gradients, AdamW's two moments, and the
    weights' average.
    """
    return frozen_bytes + (5 if averaged else 4) * torch.float32.itemsize * trained


def choose(wanted: Sharding | Literal["auto"], offload: bool, held: float, available: int) -> Sharding:
    """For these processes. `held` bytes would be held by each without sharding, of `available` ones on its device."""
    return sharding_for(wanted, offload, held, available, distributed.world_size(), _per_machine())


def sharding_for(
    wanted: Sharding | Literal["auto"], offload: bool, held: float, available: float, processes: int, per_machine: int
) -> Sharding:
    """A process alone has nobody to share with, but its one share may wait in the machine's memory."""
    if processes == 1:
        return "full" if offload else "none"
    if wanted != "auto":
        return wanted
    if 2 * held < available and not offload:
        return "none"
    return "full" if per_machine == processes else "hybrid"


def mesh(sharding: Literal["full", "hybrid"], device: torch.device) -> DeviceMesh:
    """All processes in a row; or machine by machine, whose processes hold a whole network together."""
    distributed.start_alone()
    world = distributed.world_size()
    if sharding == "full":
        return init_device_mesh(device.type, (world,), mesh_dim_names=("shard",))
    return init_device_mesh(
        device.type, (world // _per_machine(), _per_machine()), mesh_dim_names=("replicate", "shard")
    )


def shard(
    network: nn.Module,
    blocks: Sequence[str],
    over: DeviceMesh,
    compute_dtype: torch.dtype,
    offload: bool,
    prepare: Callable[[nn.Module], None],
) -> None:
    """Each block by itself, then what is left of the network. A part is prepared, copied to the device and cut up
    before the next one, so that a network which no GPU has room for may come from the machine's memory. Its parameters
    are other objects afterwards, under the names that they had.
    """
    # Gathered in the precision that autocast computes in; inputs are left to autocast, because rounding sigma would
    # change what is drawn. Gradients are summed in float32.
    precision = MixedPrecisionPolicy(
        param_dtype=None if compute_dtype == torch.float32 else compute_dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    policy = CPUOffloadPolicy(pin_memory=torch.accelerator.is_available()) if offload else OffloadPolicy()
    # Nobody changes a network's output in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    for part in [*(block for name in blocks for block in getattr(network, name)), network]:
        prepare(part)
        fully_shard(part, mesh=over, mp_policy=precision, offload_policy=policy)
        assert isinstance(part, FSDPModule)
        # Each process's loss is its share of the mean over all of them: gradients are summed, as without sharding.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)


def sum_between_machines(networks: Iterable[nn.Module], now: bool) -> None:
    """Whether the backward passes that follow sum gradients between machines, or leave that to a later one. Within a
    machine each of them does.
    """
    for network in networks:
        if isinstance(network, FSDPModule):
            network.set_requires_all_reduce(now)


def local(tensor: Tensor) -> Tensor:
    """This process's share, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Gathered from all processes, which must all call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def class_of(network: nn.Module) -> Any:
    """Its class before it was sharded."""
    return next(kind for kind in type(network).__mro__ if not issubclass(kind, FSDPModule))


def _per_machine() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", distributed.world_size()))
