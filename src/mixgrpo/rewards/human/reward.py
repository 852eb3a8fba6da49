"""The reward `human`."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL.Image import Image
from pydantic import NonNegativeInt, PositiveFloat

from mixgrpo.rewards.reward import Interactive

from .ballot import Ballot
from .page import voting_page
from .questions import Mode, questions, scores

VOTES = "votes.jsonl"


class Human(Interactive):
    def __init__(self, mode: Mode, port: int, patience: float) -> None:
        self._mode, self._port, self._patience = mode, port, patience
        self._ballot: Ballot | None = None

    @contextmanager
    def opened(self, folder: Path) -> Iterator[str]:
        from mixgrpo.parallel import distributed  # imports torch, which recipes are checked without

        if distributed.world_size() > 1:
            raise ValueError(
                f"rewards.human: one process asks a person, and there are {distributed.world_size()}: start it with "
                "--processes 1, and without torchrun"
            )
        self._ballot = Ballot(folder / VOTES)
        with voting_page(self._ballot, self._mode, self._port) as address:
            yield f"vote at {address}"
        self._ballot = None

    def __call__(self, images: list[Image], prompts: list[str], **metadata: Any) -> list[float | None]:
        if self._ballot is None:
            raise RuntimeError("rewards.human: is asked during training alone")
        files = [_png(image) for image in images]
        names = [hashlib.sha256(file).hexdigest()[:24] for file in files]
        asked = questions(self._mode, names, prompts)
        answers = self._ballot.ask(asked, dict(zip(names, files, strict=True)), self._patience)
        return scores(self._mode, names, asked, answers)


def human(*, mode: Mode = "good-bad", port: NonNegativeInt = 8400, patience: PositiveFloat = 600.0) -> Human:
    """A person's vote on a page of this machine: good-bad asks about each image, pairs which of two is better. Where
    nobody votes for `patience` seconds, images stay without a score. Votes are kept in the run's folder. Not asked in
    evaluations.
    """
    return Human(mode, port, patience)


def _png(image: Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
