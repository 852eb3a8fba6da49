"""`mixgrpo explain`: what a name in a recipe, in the metrics or in an advice means. Loads no torch."""

import shutil
import textwrap
from typing import Annotated

import typer

from mixgrpo.reference.entries import Entry, entries
from mixgrpo.section import readable, suggestion

from .errors import refuse

_WIDEST, _NARROWEST = 110, 40


def names_like(incomplete: str) -> list[str]:
    return sorted({entry.name for entry in entries() if entry.name.startswith(incomplete)})


def explain(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Such as window.size, window, clip_fraction, falling.", autocompletion=names_like
        ),
    ],
) -> None:
    """Say what a key or section of a recipe, a metric, a finding or a reward means."""
    known = entries()
    found = _named(name, known)
    if not found:
        refuse(f"{readable(name)}: no such name; {suggestion(name, dict.fromkeys(entry.name for entry in known))}")
    typer.echo("\n\n".join(map(_in_lines, found)))


def _named(name: str, known: list[Entry]) -> list[Entry]:
    """Of this name, and keys that end so: `learning_rate` is a metric and the key update.learning_rate."""
    return [entry for entry in known if entry.name == name or entry.name.endswith(f".{name}")]


def _in_lines(entry: Entry) -> str:
    width = max((len(about) for about, _ in entry.details), default=0)
    lines = [("  ", entry.meaning), *((f"  {about:<{width}}  ", said) for about, said in entry.details)]
    return "\n".join([f"{entry.name}: {entry.what}", *(_folded(said, start) for start, said in lines)])


def _folded(text: str, start: str) -> str:
    columns = min(shutil.get_terminal_size().columns, _WIDEST)
    return textwrap.fill(
        text, max(columns, _NARROWEST), initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
    )
