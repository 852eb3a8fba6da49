"""The report while a run goes on: served on loopback, with two things that can be asked of the run."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mixgrpo.loopback import Answer, served
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.requests import REQUESTS, ask

from .page import contents, page

_POLL_SECONDS = 20.0
_LOOKS = 0.5  # seconds between two looks at the folder


def live_page(run: Path, port: int) -> AbstractContextManager[str]:
    """Yields its address."""

    def get(path: str, query: dict[str, str]) -> Answer | None:
        match path:
            case "":
                return Answer.of_page(page([run], live=True))
            case "data":
                state = _changed(run, query.get("seen", ""))
                return Answer.of_json({"state": state, **contents([run])})
            case _:
                return None

    def post(path: str, given: Any) -> Answer | None:
        if path not in REQUESTS or given != {}:
            return None
        ask(run, path)
        return Answer.of_json({"asked": path})

    return served("--port", port, get, post)


def _changed(run: Path, seen: str) -> str:
    """Waits until the run has something new, or for a while."""
    end = time.monotonic() + _POLL_SECONDS
    while (state := _state(run)) == seen and time.monotonic() < end:
        time.sleep(_LOOKS)
    return state


def _state(run: Path) -> str:
    return " ".join(f"{file.name}:{file.stat().st_mtime_ns}" for file in _watched(run))


def _watched(run: Path) -> Iterator[Path]:
    folder = RunFolder(run)
    files = [folder.metrics, run / "comparison.json", *sorted(run.glob("evaluation-*.json"))]
    return (file for file in files if file.is_file())
