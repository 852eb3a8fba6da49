"""What a person is asked about some images, and the scores that follow from the answers.

good-bad   each image alone: 1 good, 0 bad
pairs      neighbours of a prompt's images in a ring: 1 the first is better, 0 the second, 0.5 neither. An image's
           score is the share of its comparisons that it wins
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

Mode = Literal["good-bad", "pairs"]
Answers = Mapping[str, float | None]
"""By question; None where the person skipped it."""


@dataclass(frozen=True)
class Question:
    prompt: str
    images: tuple[str, ...]
    """Hashes of their content: one image, or the two that are compared."""

    @property
    def name(self) -> str:
        """The same whenever the same images are drawn, so that a resumed run asks nothing twice."""
        return "-".join(self.images)


def questions(mode: Mode, images: Sequence[str], prompts: Sequence[str]) -> list[Question]:
    """About images that have these hashes. Images that are alike to the last pixel are asked about once."""
    match mode:
        case "good-bad":
            asked = [Question(prompt, (image,)) for image, prompt in zip(images, prompts, strict=True)]
        case "pairs":
            groups: dict[str, list[str]] = {}
            for image, prompt in zip(images, prompts, strict=True):
                groups.setdefault(prompt, []).append(image)
            asked = [Question(prompt, pair) for prompt, group in groups.items() for pair in _ring(group)]
        case _:
            assert_never(mode)
    return [*dict.fromkeys(asked)]


def scores(mode: Mode, images: Sequence[str], asked: Sequence[Question], answers: Answers) -> list[float | None]:
    """None for an image without an answer."""
    said: dict[str, list[float]] = {}
    for question in asked:
        answer = answers.get(question.name)
        if answer is not None:
            said.setdefault(question.images[0], []).append(answer)
            if mode == "pairs":
                said.setdefault(question.images[1], []).append(1 - answer)
    return [sum(said[image]) / len(said[image]) if image in said else None for image in images]


def _ring(group: Sequence[str]) -> list[tuple[str, str]]:
    distinct = [*dict.fromkeys(group)]
    if len(distinct) < 3:
        return [(distinct[0], distinct[1])] if len(distinct) == 2 else []
    return [*zip(distinct, [*distinct[1:], distinct[0]], strict=True)]
