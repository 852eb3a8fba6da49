"""Does an image show the requested objects, in the right number, colours and positions? GenEval's rules, with any
object detector.

A detector is a function `(image) -> [(label, (left, top, right, bottom), score), ...]`. If prompts specify colours,
each detection needs the colour as a fourth item. A prompt's row specifies the objects, as in GenEval's own files:

    tag       "counting" uses the higher threshold
    include   [{"class": "star", "count": 1, "color": "red", "position": ["left of", 0]}, ...]. The last two keys are
              optional. A position is relative to the clause of that index, which must come earlier in the list.
    exclude   [{"class": "star", "count": 2}]: there must be fewer than `count`. Optional.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from PIL.Image import Image

from mixgrpo.rewards.reward import Reward

from .user_function import load_function

Box = tuple[float, float, float, float]
Clause = Mapping[str, Any]
"""An entry of `include` or `exclude`."""

_MAX_PER_CLASS = 16  # detections of a class that are considered
_POSITION_TOLERANCE = 0.1  # fraction of both sizes that an offset must exceed to count


class Detection(NamedTuple):
    label: str
    box: Box
    score: float
    colour: str | None = None


Detections = Mapping[str, Sequence[Detection]]
"""By class, sorted by descending score."""


def geneval(
    *,
    detector: str,
    rule: Literal["partial", "strict"] = "partial",
    threshold: float = 0.3,
    counting_threshold: float = 0.9,
) -> Reward:
    """Things, numbers, colours and places as GenEval's columns ask for them, by a detector of yours: `detector`,
    path/to/file.py:function. `rule`: GenEval's verdict, or Flow-GRPO's partial credit. Only detections with a score
    above the threshold count. Prompts with the tag "counting" use `counting_threshold`.
    """
    detect: Callable[[Image], Iterable[tuple[Any, ...]]] = load_function(detector)

    def score(image: Image, tag: str | None, include: Sequence[Clause], exclude: Sequence[Clause] | None) -> float:
        min_score = counting_threshold if tag == "counting" else threshold
        detections = by_class((Detection(*found) for found in detect(image)), min_score)
        return partial(detections, include) if rule == "partial" else float(strict(detections, include, exclude or []))

    def reward(images: list[Image], prompts: list[str], **metadata: Any) -> list[float]:
        missing = [None] * len(images)
        tags, includes, excludes = (metadata.get(key, missing) for key in ("tag", "include", "exclude"))
        for prompt, include in zip(prompts, includes, strict=True):
            if not include:
                raise ValueError(f"geneval: the prompts' column `include` is missing or empty for {prompt!r}")
        return [score(*row) for row in zip(images, tags, includes, excludes, strict=True)]

    return reward


def by_class(found: Iterable[Detection], threshold: float) -> dict[str, list[Detection]]:
    detections: dict[str, list[Detection]] = {}
    for detection in sorted(found, key=lambda detection: -detection.score):
        if detection.score > threshold:
            detections.setdefault(detection.label, []).append(detection)
    return {label: of_class[:_MAX_PER_CLASS] for label, of_class in detections.items()}


def strict(detections: Detections, include: Sequence[Clause], exclude: Sequence[Clause]) -> bool:
    """GenEval's rule: for each clause, the `count` most confident detections of its class must match it, and no
    `exclude` clause may apply. Additional objects are wrong only if `exclude` says so.
    """
    matched: list[Sequence[Detection]] = []  # empty for clauses that are not met
    for clause in include:
        chosen = detections.get(clause["class"], [])[: clause["count"]]
        met = (
            len(chosen) == clause["count"]
            and ("color" not in clause or _count_colour(chosen, clause) == len(chosen))
            and ("position" not in clause or _position_holds(chosen, clause, matched))
        )
        matched.append(chosen if met else [])
    return all(matched) and all(len(detections.get(clause["class"], [])) < clause["count"] for clause in exclude)


def partial(detections: Detections, include: Sequence[Clause]) -> float:
    """Flow-GRPO's partial credit: the mean of the scores for each clause's count, colour and position. A wrong count,
    of objects or of objects in the right colour, loses its relative error. If the count of objects is wrong, colour and
    position cannot be judged and together score 0.
    """
    scores: list[float] = []
    matched: list[Sequence[Detection]] = []
    for clause in include:
        chosen, count = detections.get(clause["class"], []), clause["count"]
        scores.append(_count_score(len(chosen), count))
        met = len(chosen) == count
        if not met and ("color" in clause or "position" in clause):
            scores.append(0.0)
        if met and "color" in clause:
            right = _count_colour(chosen, clause)
            scores.append(_count_score(right, count))
            met = right == count
        if met and "position" in clause:
            met = _position_holds(chosen, clause, matched)
            # As published: a relation that does not hold scores 0 and 1, one without its reference object scores 0.
            scores += [1.0] if met else [0.0, 1.0] if matched[clause["position"][1]] else [0.0]
        matched.append(chosen if met else [])
    return sum(scores) / len(scores)


def relations(a: Box, b: Box) -> set[str]:
    """The position of a relative to b. A relation holds along an axis if the offset between the centres, reduced by the
    tolerance, exceeds half of the distance between the centres.
    """
    offsets = [(a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1)]
    sizes = [a[i + 2] - a[i] + b[i + 2] - b[i] for i in (0, 1)]
    distance = math.hypot(*offsets)
    reduced = [
        math.copysign(max(abs(offset) - _POSITION_TOLERANCE * size, 0), offset)
        for offset, size in zip(offsets, sizes, strict=True)
    ]
    names = (("left of", "right of"), ("above", "below"))
    return {names[axis][x > 0] for axis, x in enumerate(reduced) if abs(x) > distance / 2}


def _position_holds(chosen: Sequence[Detection], clause: Clause, matched: Sequence[Sequence[Detection]]) -> bool:
    """Whether the relation holds between every chosen detection and every detection of the clause that the position
    refers to. False if that clause is not met.
    """
    relation, other = clause["position"]
    pairs = [(detection, target) for detection in chosen for target in matched[other]]
    return bool(pairs) and all(relation in relations(detection.box, target.box) for detection, target in pairs)


def _count_colour(chosen: Sequence[Detection], clause: Clause) -> int:
    """The number of detections in the clause's colour."""
    for detection in chosen:
        if detection.colour is None:
            raise ValueError(
                f"geneval: the prompt specifies a {clause['color']} {clause['class']}, but the detector returns no "
                "colour: it must return (label, box, score, colour)"
            )
    return sum(detection.colour == clause["color"] for detection in chosen)


def _count_score(number: int, count: int) -> float:
    return 1 - abs(number - count) / count
