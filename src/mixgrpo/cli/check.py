"""`mixgrpo check`: whether a model can be trained, before a recipe is written for it."""

import sys
from typing import Annotated, Any

import typer

from .errors import training_errors


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A diffusers pipeline: a folder or a hub id.")],
    height: Annotated[int, typer.Option(help="Of the images.")] = 512,
    width: Annotated[int, typer.Option(help="Of the images.")] = 512,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    guidance: Annotated[float | None, typer.Option(help="Default: the stock pipeline's.", show_default=False)] = None,
) -> None:
    """Check a model, or an adapter that you wrote for one: it draws what its stock pipeline draws, the first ratio is
    1, an update moves it, and exported adapters load into diffusers.
    """
    with training_errors():
        from .together import quiet_libraries

        quiet_libraries()
        from mixgrpo.parallel import distributed
        from mixgrpo.recipe.sections import ModelConfig
        from mixgrpo.runs.check import check as findings

        settings: dict[str, Any] = {"path": model, "height": height, "width": width, "dtype": dtype}
        with distributed.processes():
            for finding in findings(ModelConfig(**settings, guidance_scale=guidance)):
                typer.echo(f"{'ok' if finding.ok else 'NO':<4}{finding.what}: {finding.detail}")
                if not finding.ok:
                    sys.exit(1)
