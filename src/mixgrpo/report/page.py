"""The page: data, styles and code in one file."""

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mixgrpo.runs.atomic import write_text

from .reading import differing, read_run

NAME = "report.html"
"""In a run's folder."""


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Side by side, where there are several."""
    write_text(out, page(runs))


def contents(runs: Sequence[Path]) -> dict[str, Any]:
    read = [read_run(run) for run in runs]
    return {"runs": read, "differing": differing([run["recipe"] for run in read])}


def page(runs: Sequence[Path], live: bool = False) -> str:
    """`live`: it asks for what is new, and has buttons."""
    data = {"live": live, **contents(runs)}
    title = ", ".join(run["name"] for run in data["runs"])
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _file("uplot.min.css") + _file("style.css"),
        "LIBRARY": _file("uplot.min.js"),
        "CODE": _file("report.js"),
        # In a script element nothing but its end is special.
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/"),
    }
    text = _file("page.html")
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part, 1)
    return text


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
