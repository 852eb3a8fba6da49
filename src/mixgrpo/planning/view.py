"""What a recipe takes of each GPU, as tables in the terminal or as JSON."""

from typing import Any

from rich.console import Console
from rich.table import Column, Table

from .fit import Fitted, Gpus
from .memory import Stage
from .seconds import Rates, work_of

_GIB, _GB, _TERA = 2**30, 1e9, 1e12
_PER_GBIT = 8 / 1e9

_STAGES: dict[Stage, str] = {
    "encode": "encode prompts",
    "rollout": "rollout",
    "decode": "decode images",
    "update": "update",
    "optimizer": "optimizer step",
}


def gpus_as_json(fitted: Fitted, gpus: Gpus, rates: Rates) -> dict[str, Any]:
    memory, work = fitted.memory, work_of(fitted.traced, fitted.recipe, fitted.layout)
    return {
        "changes": [*fitted.changes],
        "gpus": gpus.count,
        "gpu_memory_bytes": gpus.memory,
        "usable_bytes": gpus.usable,
        "sharding": fitted.layout.sharding,
        "held_bytes": memory.held,
        "stages_bytes": {stage: {"sum": memory.sums[stage], **added} for stage, added in memory.stages.items()},
        "largest": memory.largest,
        "fits": fitted.fits,
        "tflops": rates.flops / _TERA,
        "link_gbps": rates.link * _PER_GBIT,
        "network_gbps": rates.network * _PER_GBIT,
        "bus_gbps": rates.bus * _PER_GBIT,
        "work": {
            stage: {
                "flops": part.flops,
                "sent_bytes": part.sent,
                "leaving_bytes": part.leaves,
                "scattered_bytes": part.scattered,
                "copied_bytes": part.copied,
                "seconds": part.seconds(rates),
            }
            for stage, part in work.items()
        },
    }


def print_gpus(fitted: Fitted, gpus: Gpus, rates: Rates) -> None:
    console = Console(highlight=False)
    recipe, memory = fitted.recipe, fitted.memory
    console.print(
        f"\n{gpus.count} GPU{'s' * (gpus.count > 1)} of {gpus.memory / _GIB:.0f} GiB, sharding "
        f"{fitted.layout.sharding}: {recipe.rollout.prompts} prompts x {recipe.rollout.group_size} images, "
        f"{recipe.update.minibatches} optimizer steps, {recipe.rollout.micro_batch} images a model call"
    )
    console.print(_memory_table(fitted))
    largest = memory.sums[memory.largest] / _GIB
    usable = f"{gpus.usable / _GIB:.1f} GiB of {gpus.memory / _GIB:.0f} that tensors can use"
    if fitted.fits:
        console.print(f"[bold green]fits[/]: at most {largest:.1f} GiB, in the {_STAGES[memory.largest]}, of {usable}")
    else:
        console.print(f"[bold red]does not fit[/]: {largest:.1f} GiB in the {_STAGES[memory.largest]}, of {usable}")
    console.print(_time_table(fitted, rates))


def _memory_table(fitted: Fitted) -> Table:
    memory = fitted.memory
    table = Table("GiB on each GPU", *(_column(name) for name in _STAGES.values()), box=None, pad_edge=False)
    rows = {name: dict.fromkeys(_STAGES, size) for name, size in memory.held.items() if size}
    for stage, added in memory.stages.items():
        for name, size in added.items():
            if size:
                rows.setdefault(name, {})[stage] = size
    for name, sizes in rows.items():
        table.add_row(name, *(f"{sizes[stage] / _GIB:.2f}" if stage in sizes else "" for stage in _STAGES))
    table.add_section()
    sums = (f"{memory.sums[stage] / _GIB:.2f}" for stage in _STAGES)
    table.add_row("[bold]sum[/]", *(f"[bold]{size}[/]" for size in sums))
    return table


def _time_table(fitted: Fitted, rates: Rates) -> Table:
    columns = map(_column, ("PFLOP", "GB sent", "GB left machine", "GB offloaded", "seconds"))
    table = Table("an iteration", *columns, box=None, pad_edge=False)
    total = 0.0
    for name, work in work_of(fitted.traced, fitted.recipe, fitted.layout).items():
        seconds = work.seconds(rates)
        total += seconds
        sizes = (f"{size / _GB:.1f}" for size in (work.sent, work.leaves, work.copied))
        table.add_row(name, f"{work.flops / 1e15:.2f}", *sizes, f"{seconds:.1f}")
    table.add_row("[bold]sum[/]", "", "", "", "", f"[bold]{total:.1f}[/]")
    table.caption = (
        f"at {rates.flops / _TERA:g} TFLOP/s; Gbit/s: {rates.link * _PER_GBIT:g} between GPUs, "
        f"{rates.network * _PER_GBIT:g} between machines, {rates.bus * _PER_GBIT:g} to a machine's memory; "
        "without rewards"
    )
    return table


def _column(name: str) -> Column:
    return Column(name, justify="right")
