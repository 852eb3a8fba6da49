"""`mixgrpo train` and `mixgrpo resume`."""

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Overrides, Processes, RunPath, loaded, recipes_like
from .errors import training_errors

_DEFAULT = "scenes"


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="[RECIPE]", help="A shipped recipe or a YAML file.", autocompletion=recipes_like)
    ] = _DEFAULT,
    overrides: Overrides = None,
    # Not `--run`: torchrun takes that for an abbreviation of an option of its own.
    out: Annotated[Path | None, typer.Option(help="The folder of the run. Default: a new one under runs/.")] = None,
    processes: Processes = None,
) -> None:
    """Train. Results, checkpoints and metrics go to the run's folder."""
    changes = [*(overrides or [])]
    if "=" in recipe:  # no recipe given: mixgrpo train iterations=5
        recipe, changes = _DEFAULT, [recipe, *changes]
    settings = loaded(recipe, changes)
    with training_errors():
        from mixgrpo.parallel import distributed
        from mixgrpo.parallel.local import processes_for

        from .together import together

        with together(processes or processes_for(settings.rollout.prompts)):
            from mixgrpo.runs.run import start

            folder = distributed.gather(out or _new_folder(Path(recipe).stem))[0]  # the same for all processes
            start(settings, folder)


def resume(run: RunPath, overrides: Overrides = None, processes: Processes = None) -> None:
    """Continue a run from its last checkpoint, exactly as if it had never stopped, or with changes to its recipe."""
    with training_errors():
        from mixgrpo.parallel.local import processes_for
        from mixgrpo.runs.folder import RunFolder

        from .together import together

        recipe = RunFolder(run).load_recipe(overrides)
        with together(processes or processes_for(recipe.rollout.prompts)):
            from mixgrpo.runs.run import resume

            resume(recipe, run)


def _new_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder
