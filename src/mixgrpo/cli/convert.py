"""`mixgrpo convert`: a recipe from the settings of another trainer, and an account of every key."""

import io
import json
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from ruamel.yaml import YAML

from mixgrpo.convert.conversion import Conversion, Source
from mixgrpo.convert.conversion import convert as converted
from mixgrpo.convert.errors import ConvertError
from mixgrpo.convert.ledger import Line
from mixgrpo.recipe.errors import RecipeError

from .errors import refuse

_LONGEST = 1_000_000  # characters of a file
_LIST = "tag:yaml.org,2002:seq"
_SHOWN = 48  # characters of a value in the table
_TITLES = {"took": "took", "changed": "changed", "left": "could not take"}


def convert(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A script or configuration; FILE:function of a Python file; - for stdin."),
    ],
    source: Annotated[
        str, typer.Option("--from", help="auto, verl-omni, mixgrpo, dancegrpo or flow-grpo.", metavar="TRAINER")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Where the recipe goes. Default: shown.", show_default=False)] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Processes, where the file counts by them and does not say how many.")
    ] = None,
) -> None:
    """Make a recipe of another trainer's settings, and say of every key what became of it."""
    if source not in ("auto", *get_args(Source)):
        refuse(f"--from {source}: must be auto, {', '.join(get_args(Source))}")
    if out is not None and out.exists():
        refuse(f"--out {out}: is there already; name another file")
    text, function = _text(file)
    kind: Any = None if source == "auto" else source
    try:
        conversion = converted(text, kind, function, gpus)
    except (ConvertError, RecipeError) as error:
        refuse(f"{file}: {error}")
    recipe = _header(file, conversion) + _yaml(conversion.recipe)
    _print_account(conversion, to_error=out is None)
    if out is None:
        typer.echo(recipe, nl=False)
        return
    from mixgrpo.runs.atomic import write_text

    try:
        write_text(out, recipe)
    except OSError as error:
        refuse(f"--out {out}: cannot be written: {error.strerror}")
    typer.echo(f"\n{out} is written. What it does: mixgrpo plan {out}")


def _text(file: str) -> tuple[str, str | None]:
    """And the function of a Python file, if one is named."""
    if file == "-":
        return sys.stdin.read(_LONGEST), None
    path, function = Path(file), None
    if not path.exists() and ":" in file:
        name, _, function = file.rpartition(":")
        path = Path(name)
    try:
        if path.stat().st_size > _LONGEST:
            refuse(f"{path}: larger than {_LONGEST:,} characters, which no configuration is")
        return path.read_text(encoding="utf-8-sig"), function
    except OSError as error:
        refuse(f"{path}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        refuse(f"{path}: not a text file in UTF-8")


def _header(file: str, conversion: Conversion) -> str:
    name = "standard input" if file == "-" else Path(file).name
    return f"# From {name} ({conversion.source}), by mixgrpo convert.\n" + "".join(
        f"# To do: {key}: {todo}\n" for key, todo in conversion.missing.items()
    )


def _yaml(recipe: dict[str, Any]) -> str:
    yaml, text = YAML(), io.StringIO()
    yaml.width = 1000
    yaml.default_flow_style = False
    yaml.representer.add_representer(
        type(None), lambda form, _: form.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.representer.add_representer(list, lambda form, items: form.represent_sequence(_LIST, items, flow_style=True))
    yaml.dump(recipe, text)
    return text.getvalue()


def _print_account(conversion: Conversion, to_error: bool) -> None:
    for kind, title in _TITLES.items():
        lines = [line for line in conversion.lines if line.kind == kind]
        typer.echo(f"{title} ({len(lines)})", err=to_error)
        rows = [(_theirs(line), _ours(line), line.note) for line in lines]
        widths = [min(60, max((len(row[column]) for row in rows), default=0)) for column in (0, 1)]
        for theirs, ours, note in rows:
            middle = "" if kind == "left" else f"  {ours:<{widths[1]}}"
            typer.echo(f"  {theirs:<{widths[0]}}{middle}  {note}".rstrip(), err=to_error)
        typer.echo("", err=to_error)
    if conversion.missing:
        typer.echo("to do: what the file does not say", err=to_error)
    for key, todo in conversion.missing.items():
        typer.echo(f"  {key}: {todo}", err=to_error)
    if conversion.missing:
        typer.echo("", err=to_error)


def _theirs(line: Line) -> str:
    return f"{line.key} = {_short(line.value)}{' (default)' if line.by_default else ''}"


def _ours(line: Line) -> str:
    return ", ".join(f"{key} = {_short(value)}" for key, value in line.ours.items())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
