"""`mixgrpo recipes` and `mixgrpo plan`: what there is and what it does. They load neither torch nor diffusers."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mixgrpo.recipe.load import description_of, shipped_recipes
from mixgrpo.recipe.plan_view import plan_as_json, print_plan

from .arguments import Overrides, RecipeName, loaded
from .errors import refuse, training_errors

# What FLUX.1's network reached on an H200 in bfloat16, with LoRA at 720 x 720: 346 in the rollout, 306 in the update.
_TFLOPS = 300.0
_LINK_GBPS = 2000.0  # between the GPUs of a machine, by NVLink
_NETWORK_GBPS = 3200.0  # of a machine with eight adapters of 400 Gbit/s
_BUS_GBPS = 200.0  # PCIe 4.0 with 16 lanes


def recipes() -> None:
    """List the recipes that ship with the package."""
    names = shipped_recipes()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {description_of(name)}")


def models(
    memory: Annotated[
        bool, typer.Option("--memory", help="Plan what each takes of one GPU: two minutes, without weights.")
    ] = False,
) -> None:
    """List the models that can be trained, and their recipes."""
    from .together import quiet_libraries

    quiet_libraries()
    from mixgrpo.planning.catalogue import entries, peak

    for entry in entries():
        typer.echo(f"{entry.path}  ({entry.kind})")
        typer.echo(f"  guidance  {entry.guidance}")
        typer.echo(f"  recipes   {', '.join(entry.recipes) or f'none; begin with {entry.settings}'}")
        if memory and not entry.planned:
            typer.echo("  memory    not planned: its network reads values that a plan does not have")
        elif memory:
            lora, full = peak(entry, "lora") / 2**30, peak(entry, "full") / 2**30
            typer.echo(f"  memory    LoRA {lora:.0f} GiB, full {full:.0f} GiB, with {entry.settings} and checkpointing")


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    iteration: Annotated[int, typer.Option(min=0, help="The iteration whose plan is shown.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    gpus: Annotated[int | None, typer.Option(min=1, help="Also memory and time, on so many GPUs.")] = None,
    gpu_memory: Annotated[str, typer.Option(help="Of each GPU, such as 24GiB.")] = "80GiB",
    per_machine: Annotated[int, typer.Option(min=1, help="GPUs in a machine.")] = 8,
    fit: Annotated[bool, typer.Option("--fit", help="Find the smallest changes that make it fit.")] = False,
    tflops: Annotated[float, typer.Option(min=0.001, help="TFLOP/s that each GPU reaches.")] = _TFLOPS,
    link_gbps: Annotated[float, typer.Option(min=0.001, help="Gbit/s between a machine's GPUs.")] = _LINK_GBPS,
    network_gbps: Annotated[float, typer.Option(min=0.001, help="Gbit/s from a machine to others.")] = _NETWORK_GBPS,
    bus_gbps: Annotated[
        float, typer.Option(min=0.001, help="Gbit/s between a GPU and its machine's memory, for parallel.offload.")
    ] = _BUS_GBPS,
) -> None:
    """Show what a recipe samples and trains, and what that costs. Loads no model: with --gpus it runs its network on
    tensors without memory, which takes seconds.
    """
    settings = loaded(recipe, overrides or [])
    if iteration >= settings.iterations:
        refuse(f"--iteration {iteration}: must be below {settings.iterations}, the number of iterations")
    if fit and gpus is None:
        refuse("--fit: needs --gpus, and --gpu-memory if they have another than 80GiB")
    if not as_json:
        print_plan(settings, iteration)
    shown = plan_as_json(settings, iteration) if as_json else {}
    if gpus is not None:
        machine = (gpus, _bytes(gpu_memory), per_machine)
        rates = (tflops * 1e12, *(gbps * 1e9 / 8 for gbps in (link_gbps, network_gbps, bus_gbps)))
        with training_errors():
            shown["per_gpu"] = _on_gpus(recipe, overrides or [], machine, rates, fit, as_json)
    if as_json:
        typer.echo(json.dumps(shown, indent=2))


def _on_gpus(
    recipe: str,
    overrides: Sequence[str],
    machine: tuple[int, float, int],
    rates: tuple[float, ...],
    fit: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Memory and time of each GPU; with `fit` after the changes that make it fit."""
    from .together import quiet_libraries

    quiet_libraries()
    from mixgrpo.planning.fit import Gpus, fitted, placed
    from mixgrpo.planning.seconds import Rates
    from mixgrpo.planning.tracing import trace
    from mixgrpo.planning.view import gpus_as_json, print_gpus

    settings, gpus = loaded(recipe, overrides), Gpus(*machine)
    if settings.rollout.prompts < gpus.count:
        refuse(
            f"rollout.prompts = {settings.rollout.prompts}: must be at least {gpus.count}, the number of GPUs, because "
            "each takes whole groups"
        )
    result = fitted(lambda changes: loaded(recipe, [*overrides, *changes]), gpus) if fit else None
    if fit and result is None:
        typer.echo("nothing fits: not even LoRA with checkpointing and one image a model call", err=True)
        sys.exit(1)
    result = result or placed(settings, gpus, trace(settings))
    if not as_json:
        print_gpus(result, gpus, Rates(*rates))
    if fit and not as_json:
        words = " ".join([f"mixgrpo train {recipe}", *overrides, *result.changes])
        typer.echo(f"\n{words}" if result.changes else "\nno change is needed")
    return gpus_as_json(result, gpus, Rates(*rates))


def _bytes(size: str) -> float:
    """80GiB, 24GB or a number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(GiB|GB|)", size.strip())
    if found is None:
        refuse(f"--gpu-memory {size}: must be a size such as 80GiB or 24GB")
    return float(found[1]) * {"GiB": 2**30, "GB": 1e9, "": 1}[found[2]]
