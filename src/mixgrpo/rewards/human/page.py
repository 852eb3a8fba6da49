"""The page on which a person votes."""

from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

from mixgrpo.loopback import Answer, served

from .ballot import Ballot
from .questions import Mode

_POLL_SECONDS = 20.0
_ANSWERS = {"good-bad": (1.0, 0.0, None), "pairs": (1.0, 0.0, 0.5, None)}


def voting_page(ballot: Ballot, mode: Mode, port: int) -> AbstractContextManager[str]:
    """Yields its address."""

    def get(path: str, query: dict[str, str]) -> Answer | None:
        match path.split("/"):
            case [""]:
                page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
                return Answer.of_page(page.replace("MODE", mode))
            case ["state"]:
                seen = query.get("seen", "-1")
                ballot.wait_for_change(int(seen) if seen.isdecimal() else -1, _POLL_SECONDS)
                return Answer.of_json(_state(ballot))
            case ["image", name] if (image := ballot.image(name)) is not None:
                return Answer(image, "image/png")
            case _:
                return None

    def post(path: str, given: Any) -> Answer | None:
        match path, given:
            case "vote", {"question": str(name), "answer": answer} if answer in _ANSWERS[mode]:
                return Answer.of_json({"counted": ballot.vote(name, answer)})
            case "undo", {}:
                return Answer.of_json({"undone": ballot.undo()})
            case _:
                return None

    return served("rewards.human.port", port, get, post)


def _state(ballot: Ballot) -> dict[str, Any]:
    version = ballot.version
    waiting, answered = ballot.waiting()
    shown = [{"name": q.name, "prompt": q.prompt, "images": [f"image/{image}" for image in q.images]} for q in waiting]
    return {"version": version, "open": len(waiting), "answered": answered, "questions": shown[:2]}
