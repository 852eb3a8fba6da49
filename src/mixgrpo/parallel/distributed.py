"""Data parallelism: each rank takes whole groups, and gradients are summed. A single process is a world of one.

Tensors on an accelerator travel by its own library (on CUDA: NCCL), Python objects over the network (gloo).
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import HashStore, PrefixStore, ProcessGroup, Store  # type: ignore[attr-defined]
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import rendezvous

_BUCKET_BYTES = 64 * 2**20
_POLL_SECONDS = 0.01

_store: Store | None = None
"""Through which the processes found each other."""


class AnotherFailedFirst(RuntimeError):
    """What went wrong here came after another process had failed, which says why."""


@contextmanager
def processes() -> Iterator[None]:
    """Be one of the processes that torchrun started, or the only one. They leave together: one that left early would
    break the connections of those still at work. After an error nobody is waited for; torchrun ends the others. The
    first one to fail raises its error, those after it `AnotherFailedFirst`, so that a run tells one error.
    """
    start()
    try:
        yield
        gather(None)
    except BaseException as error:
        if _failed_before():
            raise AnotherFailedFirst from error
        raise
    finally:
        stop()


def _failed_before() -> bool:
    """Whether another process has failed already."""
    if _store is None:
        return False
    try:
        return int(_store.add("failed processes", 1)) > 1
    except RuntimeError:  # whoever keeps the store is gone: torchrun, or the first process
        return True


def start() -> None:
    """Join the processes that torchrun started. Does nothing in a single process."""
    if "RANK" not in os.environ or dist.is_initialized():
        return
    global _store
    _store, rank, world_size = next(rendezvous("env://"))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        _store = _of_this_start(_store, rank, world_size)
    _join(_store, rank, world_size)


def _of_this_start(store: Store, rank: int, world_size: int) -> Store:
    """torchrun keeps its store when it starts processes again, and with it the addresses of those that are gone: torch
    would connect to them and wait. So each start has keys of its own, under a name that the first process tells those
    that ask for it, until all have heard it. Who asks has a name that no earlier process had.
    """
    own_name, deadline = uuid4().hex, time.monotonic() + default_pg_timeout.total_seconds()
    if rank > 0:
        store.set(f"asks/{rank}", own_name)
        name = store.get(f"answer/{own_name}").decode()
        store.set(f"heard/{name}/{rank}", "")
        return PrefixStore(name, store)
    missing = [*range(1, world_size)]
    while missing:
        if time.monotonic() > deadline:
            raise RuntimeError(f"process {missing[0] + 1} of {world_size} has not started")
        for other in missing:
            if store.check([f"asks/{other}"]):
                store.set(f"answer/{store.get(f'asks/{other}').decode()}", own_name)
        time.sleep(_POLL_SECONDS)
        missing = [other for other in missing if not store.check([f"heard/{own_name}/{other}"])]
    return PrefixStore(own_name, store)


def start_alone() -> None:
    """Be a group of one, for what is written for groups. Does nothing where there is one already."""
    if not dist.is_initialized():
        _join(HashStore(), 0, 1)


def _join(store: Store, rank: int, world_size: int) -> None:
    own = device()
    backend, bound_to = "gloo", None
    if own.type != "cpu":
        # Without a device of its own each process would talk to the others through the first one.
        torch.accelerator.set_device_index(own.index)
        backend, bound_to = f"cpu:gloo,{own.type}:{dist.get_default_backend_for_device(own)}", own
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, device_id=bound_to)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def restarted() -> bool:
    """Whether the processes were ended, because one of them failed, and started again by the same launcher."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def device() -> torch.device:
    """The device of this process: an accelerator of its own, if the machine has any. A Mac trains on its CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type == "mps":
        return torch.device("cpu")
    return torch.device(accelerator.type, int(os.environ.get("LOCAL_RANK", 0)))


def device_memory(device: torch.device) -> int:
    """All of the accelerator's memory, or of the machine's."""
    if device.type != "cpu":
        _, total = torch.get_device_module(device).mem_get_info(device)
        return int(total)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def local_range(count: int, of_rank: int | None = None) -> range:
    """Which of `count` groups belong to this rank, or another: contiguous, and as evenly split as possible."""
    own = rank() if of_rank is None else of_rank
    bounds = [round(i * count / world_size()) for i in (own, own + 1)]
    return range(*bounds)


def padded(local: range, count: int) -> list[int]:
    """This rank's groups, the last one again until every rank has as many. Sharded networks are run by all ranks
    together.
    """
    return [*local, *[local[-1] if local else 0] * (-(-count // world_size()) - len(local))]


def sum_tensors(tensors: Iterable[Tensor]) -> None:
    """In place, over all ranks. Sent in buckets: one message for all would need a copy of all."""
    if not dist.is_initialized():
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([part.flatten() for part in bucket])
        dist.all_reduce(flat)
        for part, total in zip(bucket, torch.split(flat, [part.numel() for part in bucket]), strict=True):
            part.copy_(total.view_as(part))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """In order, at most `_BUCKET_BYTES` each (or a single tensor)."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(part.nbytes for part in bucket) + tensor.nbytes > _BUCKET_BYTES:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def gather_rows(rows: Tensor, count: int) -> Tensor:
    """All `count` groups' rows in their order, from the ranks that `local_range` gives them to."""
    if not dist.is_initialized():
        return rows
    of_a_group = len(rows) // len(local_range(count))
    sizes = [of_a_group * len(local_range(count, of_rank)) for of_rank in range(world_size())]
    padded_rows = torch.zeros(max(sizes), *rows.shape[1:], dtype=rows.dtype)
    padded_rows[: len(rows)] = rows
    gathered = [torch.empty_like(padded_rows) for _ in sizes]
    dist.all_gather(gathered, padded_rows)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])


def total(number: int) -> int:
    """Of all ranks."""
    result = torch.tensor(number)
    sum_tensors([result])
    return int(result)


def largest(values: Sequence[float]) -> list[float]:
    """Of each of these numbers, the largest of all ranks."""
    most = torch.tensor([*values], dtype=torch.float64)
    if dist.is_initialized():
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return [float(value) for value in most]


def anywhere(true: bool) -> bool:
    """Whether it is true on any rank."""
    return largest([true])[0] > 0


def gather(value: Any, group: ProcessGroup | None = None) -> list[Any]:
    """A small object from each rank, in rank order: for what is rare, or said once."""
    if not dist.is_initialized():
        return [value]
    per_rank: list[Any] = [None] * world_size()
    dist.all_gather_object(per_rank, value, group)
    return per_rank


def separate_group() -> ProcessGroup | None:
    """All ranks once more, for a second thread: messages of one group arrive in the order in which they were sent. None
    in a single process.
    """
    return dist.new_group(backend="gloo") if dist.is_initialized() else None
