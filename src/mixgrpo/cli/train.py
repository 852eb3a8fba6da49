"""`mixgrpo train` and `mixgrpo resume`."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import asks_somebody

from .arguments import Overrides, Processes, RunPath, loaded, recipes_like
from .errors import refuse, training_errors

_DEFAULT = "scenes"


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="[RECIPE]", help="A shipped recipe or a YAML file.", autocompletion=recipes_like)
    ] = _DEFAULT,
    overrides: Overrides = None,
    # Not `--run`: torchrun takes that for an abbreviation of an option of its own.
    out: Annotated[Path | None, typer.Option(help="The folder of the run. Default: a new one under runs/.")] = None,
    processes: Processes = None,
    keep_on: Annotated[
        bool, typer.Option("--continue", help="Continue the run in --out if it has begun: for job schedulers.")
    ] = False,
    ray: Annotated[
        str | None, typer.Option(metavar="[ADDRESS]", help="Train on a Ray cluster; alone: on the one that runs here.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="N", help="With --ray: so many, or 2:4 for as many as there is room for.")
    ] = None,
    restarts: Annotated[int, typer.Option(min=0, help="With --ray: go on so often when a worker is lost.")] = 0,
) -> None:
    """Train. Results, checkpoints and metrics go to the run's folder. Started again by torchrun after a failure, it
    continues.
    """
    changes = [*(overrides or [])]
    if "=" in recipe:  # no recipe given: mixgrpo train iterations=5
        recipe, changes = _DEFAULT, [recipe, *changes]
    settings = loaded(recipe, changes)
    if out is None and (keep_on or int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))):
        refuse("--out: name the run's folder, so that the command finds it when it is started again")
    if ray is None and (workers or restarts):
        refuse("--workers and --restarts: are for --ray; torchrun has --nproc-per-node and --max-restarts")
    if ray is not None:
        with training_errors():
            _train_on_ray(settings, out or _new_folder(Path(recipe).stem), keep_on, ray, workers or "1", restarts)
        return
    with training_errors():
        from mixgrpo.parallel import distributed

        from .together import together

        with together(processes or _processes_for(settings)):
            from mixgrpo.report.automatic import ReportWriter
            from mixgrpo.runs.run import start, start_or_continue

            folder = distributed.gather(out or _new_folder(Path(recipe).stem))[0]  # the same for all processes
            (start_or_continue if keep_on or distributed.restarted() else start)(settings, folder, [ReportWriter()])


def resume(run: RunPath, overrides: Overrides = None, processes: Processes = None) -> None:
    """Continue a run from its last checkpoint, exactly as if it had never stopped, or with changes to its recipe."""
    with training_errors():
        from mixgrpo.runs.folder import RunFolder

        from .together import together

        recipe = RunFolder(run).load_recipe(overrides)
        with together(processes or _processes_for(recipe)):
            from mixgrpo.report.automatic import ReportWriter
            from mixgrpo.runs.run import resume

            resume(recipe, run, [ReportWriter()])


def _processes_for(recipe: Recipe) -> int:
    from mixgrpo.parallel.local import processes_for

    return 1 if asks_somebody(recipe.rewards) else processes_for(recipe.rollout.prompts)


class BareRay(TyperCommand):
    """`--ray` without an address: of the cluster that runs on this machine."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--ray" in args:
            behind = args.index("--ray") + 1
            if behind == len(args) or args[behind].startswith("-"):
                args = [*args[:behind], "auto", *args[behind:]]
        return super().parse_args(ctx, args)


def _train_on_ray(recipe: Recipe, folder: Path, keep_on: bool, address: str, workers: str, restarts: int) -> None:
    from mixgrpo.parallel.on_ray import Workers, run_on_ray
    from mixgrpo.runs.folder import RunFolder
    from mixgrpo.signals import raising

    wanted, folder = Workers.parse(workers), folder.resolve()
    if not keep_on:
        RunFolder(folder).check_unused()
    with raising():
        run_on_ray(partial(_work, recipe, folder), address, wanted, restarts, folder)


def _work(recipe: Recipe, folder: Path) -> None:
    from mixgrpo.report.automatic import ReportWriter
    from mixgrpo.runs.run import start_or_continue

    from .together import quiet_libraries

    quiet_libraries()
    start_or_continue(recipe, folder, [ReportWriter()])


def _new_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder
