"""The score in a judge's answer. Judges write it in many ways; a number that merely occurs in prose is none."""

import json
import re
from typing import NamedTuple

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_AROUND = r"[\s*_`\"'$\[(<]*"  # markdown, quotes, brackets
_OUT_OF = rf"(?:\s*(?:/|out\s+of)\s*({_NUMBER}))?"
_LABELLED = re.compile(
    rf"(?:\b([a-z]+)[\s_*-]+)?(?:score|rating)\b(?:\s*\([^)]*\))?{_AROUND}(?:[:=]|\bis\b)"
    rf"{_AROUND}({_NUMBER}){_OUT_OF}(?!\s*[-/]\s*\d|\.?\d)",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"{_AROUND}()({_NUMBER}){_OUT_OF}[\s*_`\"'$\])>]*\.?\s*", re.IGNORECASE)
_WRAPPED = re.compile(r"<answer>(.*?)</answer>|\\boxed\s*\{(?:\\text\s*\{)?([^{}]*)\}", re.DOTALL)
_CONCLUSIONS = {"final", "overall", "total"}
_NO_ASPECTS = {"", "the", "a", "my", "this", "image"}


class Mark(NamedTuple):
    value: float
    out_of: float | None
    """The denominator, where one is given."""


def score_in(answer: str, low: float, high: float) -> float | None:
    """On the scale from `low` to `high`, as a number in [0, 1]; the mean where aspects are scored one by one. None
    where there is no score, or one on another scale.
    """
    marks = find_marks(answer)
    if not marks or not all(low <= mark.value <= high and mark.out_of in (None, high) for mark in marks):
        return None
    return sum((mark.value - low) / (high - low) for mark in marks) / len(marks)


def find_marks(answer: str) -> list[Mark]:
    """The conclusion, or a mark for each aspect. What is written last counts: judges reason first."""
    text = answer.rpartition("</think>")[2].partition("<think>")[0]
    if wrapped := _WRAPPED.findall(text):
        text = "".join(wrapped[-1])
    if objects := _scores_in_json(text):
        text = objects[-1]
    if alone := _ALONE.fullmatch(text):
        return [_mark(alone)]
    labelled = {(found[1] or "").lower(): _mark(found) for found in _LABELLED.finditer(text)}
    for labels in (_CONCLUSIONS, _NO_ASPECTS):
        if conclusions := [mark for label, mark in labelled.items() if label in labels]:
            return conclusions[-1:]
    return [*labelled.values()]


def _mark(found: re.Match[str]) -> Mark:
    return Mark(float(found[2]), None if found[3] is None else float(found[3]))


def _scores_in_json(text: str) -> list[str]:
    """What the objects in a text have under `score`."""
    scores = []
    start = text.find("{")
    while start >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            end = start + 1
        else:
            scores += [str(item) for key, item in value.items() if key.lower() == "score"]
        start = text.find("{", end)
    return scores
