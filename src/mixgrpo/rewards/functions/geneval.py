"""Does a picture show the things asked for, as often, in their colours and places? GenEval's rules, on any detector.

A detector is a function `(image) -> [(label, (left, top, right, bottom), score), ...]`, each with a colour as a fourth
where colours are asked for. A prompt's row says what should be there, as in GenEval's own files:

    tag       "counting" asks for more certain detections
    include   [{"class": "star", "count": 1, "color": "red", "position": ["left of", 0]}, ...]: the last two may
              be missing; a position is relative to the entry of that number, earlier in the list
    exclude   [{"class": "star", "count": 2}]: fewer than so many; may be missing
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from PIL.Image import Image

from mixgrpo.rewards.reward import Reward

from .own import load_function

Box = tuple[float, float, float, float]
Clause = Mapping[str, Any]

_MOST = 16  # things of a class that are looked at
_SLACK = 0.1  # of both sizes: what a distance must exceed to count


class Thing(NamedTuple):
    label: str
    box: Box
    score: float
    colour: str | None = None


Things = Mapping[str, Sequence[Thing]]
"""By class, the surest first."""


def geneval(
    *,
    detector: str,
    rule: Literal["partial", "strict"] = "partial",
    threshold: float = 0.3,
    counting_threshold: float = 0.9,
) -> Reward:
    """`detector` is path/to/file.py:function. Detections count above the thresholds; the second is for counting."""
    detect: Callable[[Image], Iterable[tuple[Any, ...]]] = load_function(detector)

    def score(image: Image, tag: str | None, include: Sequence[Clause], exclude: Sequence[Clause] | None) -> float:
        least = counting_threshold if tag == "counting" else threshold
        things = by_class((Thing(*found) for found in detect(image)), least)
        return partial(things, include) if rule == "partial" else float(strict(things, include, exclude or []))

    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        nothing = [None] * len(images)
        tags, includes, excludes = (metadata.get(key, nothing) for key in ("tag", "include", "exclude"))
        for prompt, include in zip(prompts, includes, strict=True):
            if not include:
                raise ValueError(f"geneval: the prompts' column `include` says nothing for {prompt!r}")
        return [score(*row) for row in zip(images, tags, includes, excludes, strict=True)]

    return reward


def by_class(found: Iterable[Thing], threshold: float) -> dict[str, list[Thing]]:
    things: dict[str, list[Thing]] = {}
    for thing in sorted(found, key=lambda thing: -thing.score):
        if thing.score > threshold:
            things.setdefault(thing.label, []).append(thing)
    return {label: alike[:_MOST] for label, alike in things.items()}


def strict(things: Things, include: Sequence[Clause], exclude: Sequence[Clause]) -> bool:
    """GenEval's verdict: the surest so many of each class are as asked for, and of none there are too many. More than
    asked for is wrong only where `exclude` says so.
    """
    matched: list[Sequence[Thing]] = []  # empty where a clause is not met
    for clause in include:
        chosen = things.get(clause["class"], [])[: clause["count"]]
        met = (
            len(chosen) == clause["count"]
            and ("color" not in clause or _of_colour(chosen, clause) == len(chosen))
            and ("position" not in clause or _stand(chosen, clause, matched))
        )
        matched.append(chosen if met else [])
    return all(matched) and all(len(things.get(clause["class"], [])) < clause["count"] for clause in exclude)


def partial(things: Things, include: Sequence[Clause]) -> float:
    """Flow-GRPO's credit: the mean of marks for each clause's number, colours and position. A number or a share of
    colours that is off costs its relative error; what cannot be judged for a wrong number gets 0.
    """
    marks: list[float] = []
    matched: list[Sequence[Thing]] = []
    for clause in include:
        chosen, count = things.get(clause["class"], []), clause["count"]
        marks.append(_near(len(chosen), count))
        met = len(chosen) == count
        if not met and ("color" in clause or "position" in clause):
            marks.append(0.0)
        if met and "color" in clause:
            right = _of_colour(chosen, clause)
            marks.append(_near(right, count))
            met = right == count
        if met and "position" in clause:
            met = _stand(chosen, clause, matched)
            # As published: a relation that does not hold gets a 0 and a 1, one whose other side is missing a 0.
            marks += [1.0] if met else [0.0, 1.0] if matched[clause["position"][1]] else [0.0]
        matched.append(chosen if met else [])
    return sum(marks) / len(marks)


def relations(a: Box, b: Box) -> set[str]:
    """Where a is, seen from b: along an axis that has more than half of the distance between their centres, once
    their sizes are allowed for.
    """
    offsets = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1)]
    sizes = [a[i + 2] - a[i] + b[i + 2] - b[i] for i in (0, 1)]
    distance = math.hypot(*offsets)
    clear = [
        math.copysign(max(abs(offset) - _SLACK * size, 0), offset) for offset, size in zip(offsets, sizes, strict=True)
    ]
    names = (("left of", "right of"), ("above", "below"))
    return {names[axis][x > 0] for axis, x in enumerate(clear) if abs(x) > distance / 2}


def _stand(chosen: Sequence[Thing], clause: Clause, matched: Sequence[Sequence[Thing]]) -> bool:
    """Every one of them, to every one of the clause they are said to be next to, which must be met."""
    relation, other = clause["position"]
    pairs = [(thing, target) for thing in chosen for target in matched[other]]
    return bool(pairs) and all(relation in relations(thing.box, target.box) for thing, target in pairs)


def _of_colour(chosen: Sequence[Thing], clause: Clause) -> int:
    for thing in chosen:
        if thing.colour is None:
            raise ValueError(
                f"geneval: a {clause['color']} {clause['class']} is asked for, but the detector names no colour: "
                "it must give (label, box, score, colour)"
            )
    return sum(thing.colour == clause["color"] for thing in chosen)


def _near(number: int, count: int) -> float:
    return 1 - abs(number - count) / count
