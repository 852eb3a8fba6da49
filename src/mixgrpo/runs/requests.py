"""What is asked of a run from outside, as files in its folder, which the run takes away when it has read them."""

from pathlib import Path
from typing import Literal, get_args

Request = Literal["stop", "evaluate"]
REQUESTS: tuple[Request, ...] = get_args(Request)


def ask(folder: Path, what: Request) -> None:
    _file(folder, what).touch()


def heard(folder: Path, what: Request) -> bool:
    """Whether it was asked since it was last looked for."""
    try:
        _file(folder, what).unlink()
    except FileNotFoundError:
        return False
    return True


def _file(folder: Path, what: Request) -> Path:
    return folder / f"request-{what}"
