"""Data parallelism: each rank takes whole groups, and gradients are summed. A single process is a world of one."""

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def start() -> None:
    """Join the processes that torchrun started. Does nothing in a single process."""
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def device() -> torch.device:
    """The device of this process."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def local_range(count: int) -> range:
    """Which of `count` groups belong to this rank: contiguous, and as evenly split as possible."""
    bounds = [round(i * count / world_size()) for i in (rank(), rank() + 1)]
    return range(*bounds)


def sum_tensors(tensors: Iterable[Tensor]) -> None:
    """In place, over all ranks, in one message."""
    if not dist.is_initialized():
        return
    parts = [*tensors]
    flat = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(flat)
    for part, total in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
        part.copy_(total.view_as(part))


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """In place, from the first rank."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def gather(value: Any) -> list[Any]:
    """A small object from each rank, in rank order."""
    if not dist.is_initialized():
        return [value]
    per_rank: list[Any] = [None] * world_size()
    dist.all_gather_object(per_rank, value)
    return per_rank
