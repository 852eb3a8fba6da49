"""Questions that wait for a person, and their answers. The trainer asks on one thread, pages answer on others."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Condition

from .questions import Answers, Question

_SECOND_THOUGHTS = 1.5
"""Seconds after the last vote in which it can still be undone."""


class Ballot:
    def __init__(self, file: Path) -> None:
        """Answers are kept in the file, a line each, and those that it has are known."""
        self._file = file
        self._changed = Condition()
        self._answers: dict[str, float | None] = _read(file)
        self._open: dict[str, Question] = {}
        self._images: dict[str, bytes] = {}
        self._votes: list[Question] = []
        self._last_vote = 0.0
        self.version = 0
        """Grows with each change."""

    def ask(self, asked: Sequence[Question], images: Mapping[str, bytes], patience: float) -> Answers:
        """Waits until all are answered, or nobody has answered for so many seconds."""
        with self._changed:
            new = {question.name: question for question in asked if question.name not in self._answers}
            self._open |= new
            self._images |= images
            self._last_vote = time.monotonic()
            self._notify()
            while new and (left := self._left(new, patience)) > 0:
                self._changed.wait(left)
            for name in new:
                self._open.pop(name, None)
            self._images.clear()
            self._votes.clear()
            self._notify()
            return {question.name: self._answers.get(question.name) for question in asked}

    def _left(self, new: Mapping[str, Question], patience: float) -> float:
        waits = any(name in self._open for name in new)
        return self._last_vote + (patience if waits else _SECOND_THOUGHTS) - time.monotonic()

    def vote(self, name: str, answer: float | None) -> bool:
        """Whether the question was still open: another page may have been quicker, or time has run out."""
        with self._changed:
            question = self._open.pop(name, None)
            if question is None:
                return False
            self._answers[name] = answer
            self._votes.append(question)
            self._write({"question": name, "prompt": question.prompt, "answer": answer})
            self._last_vote = time.monotonic()
            self._notify()
            return True

    def undo(self) -> bool:
        """Take the last vote back. Only while its images wait."""
        with self._changed:
            if not self._votes:
                return False
            question = self._votes.pop()
            del self._answers[question.name]
            self._write({"question": question.name, "undone": True})
            self._open = {question.name: question, **self._open}
            self._last_vote = time.monotonic()
            self._notify()
            return True

    def waiting(self) -> tuple[list[Question], int]:
        """Those that are open, and how many of these images' questions have been answered."""
        with self._changed:
            return [*self._open.values()], len(self._votes)

    def image(self, name: str) -> bytes | None:
        with self._changed:
            return self._images.get(name)

    def wait_for_change(self, version: int, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.version != version, seconds)

    def _notify(self) -> None:
        self.version += 1
        self._changed.notify_all()

    def _write(self, line: dict[str, object]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _read(file: Path) -> dict[str, float | None]:
    """A line that a crash cut short is left out: its question is asked again."""
    answers: dict[str, float | None] = {}
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if line.get("undone"):
            answers.pop(line["question"], None)
        else:
            answers[line["question"]] = line["answer"]
    return answers
