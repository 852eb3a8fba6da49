"""`mixgrpo doctor`: what works here, what is missing, and how to get it."""

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mixgrpo.runs.doctor import Observation

_COLUMN = 26


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    self_test: Annotated[
        bool, typer.Option(help="Train the tiny model for one iteration, which takes seconds.")
    ] = True,
) -> None:
    """Say what is installed, which rewards and models can run here, what is missing and how to get it. Exit status 1
    where something is broken. Uses no network.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported
    from mixgrpo.runs.doctor import observations

    seen: list[Observation] = []
    quiet = False
    for each in observations(self_test):
        if not quiet and each.part == "packages":
            quiet = True
            _quiet()
        seen.append(each)
        if not as_json:
            _show(each, first=len(seen) == 1 or seen[-2].part != each.part)
    broken, missing = ([each for each in seen if each.state == state] for state in ("broken", "missing"))
    sentence = _sentence([each.what for each in broken], [each.what for each in missing])
    if as_json:
        shown = {"ok": not broken, "summary": sentence, "observations": [asdict(each) for each in seen]}
        typer.echo(json.dumps(shown, indent=2))
    else:
        typer.echo(f"\n{sentence}")
    sys.exit(1 if broken else 0)


def _quiet() -> None:
    """Libraries that do not import are what the observations say."""
    from contextlib import suppress

    with suppress(Exception):
        from .together import quiet_libraries

        quiet_libraries()


def _show(each: "Observation", first: bool) -> None:
    if first:
        typer.echo(f"{each.part}")
    typer.echo(f"  {each.state:<8}{each.what:<{_COLUMN}}{each.detail}")
    if each.fix:
        typer.echo(f"  {'':<8}{'':<{_COLUMN}}-> {each.fix}")


def _sentence(broken: list[str], missing: list[str]) -> str:
    if broken:
        order = f" Begin with {broken[0]}: the others may follow from it." if len(broken) > 1 else ""
        return f"Broken: {', '.join(broken)}.{order}"
    if missing:
        return f"Everything that a run needs works. Optional and not here: {', '.join(missing)}."
    return "Everything works."
