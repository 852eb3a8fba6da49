"""Extract the score from a judge's answer. Judges write scores in many formats. A number that merely occurs in the text
is not a score.
"""

import json
import re
from typing import NamedTuple

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_AROUND = r"[\s*_`\"'$\[(<]*"  # markdown, quotes, brackets
_OUT_OF = rf"(?:\s*(?:/|out\s+of)\s*({_NUMBER}))?"
_LABELLED = re.compile(
    rf"(?:\b([a-z]+)[\s_*-]+)?(?:score|rating)\b(?:\s*\([^)]*\))?{_AROUND}(?:[:=]|\bis\b)"
    rf"{_AROUND}({_NUMBER}){_OUT_OF}(?!\s*[-/]\s*\d|[.,]?\d)",
    re.IGNORECASE,
)
_ALONE = re.compile(rf"{_AROUND}()({_NUMBER}){_OUT_OF}[\s*_`\"'$\])>]*+\.?\s*", re.IGNORECASE)
_WRAPPED = re.compile(r"<answer>(.*?)</answer>|\\boxed\s*\{(?:\\text\s*\{)?([^{}]*)\}", re.DOTALL)
_FINAL_LABELS = {"final", "overall", "total"}
_GENERIC_LABELS = {"", "the", "a", "my", "this", "image"}


class FoundScore(NamedTuple):
    value: float
    out_of: float | None
    """The denominator, if the answer gives one."""


def parse_score(answer: str, low: float, high: float) -> float | None:
    """The score, rescaled from [low, high] to [0, 1]. If the judge scores aspects one by one, their mean. None if there
    is no score, or one on another scale.
    """
    scores = find_scores(answer)
    if not scores or not all(low <= score.value <= high and score.out_of in (None, high) for score in scores):
        return None
    return sum((score.value - low) / (high - low) for score in scores) / len(scores)


def find_scores(answer: str) -> list[FoundScore]:
    """The final score, or one score per aspect. The last one written counts, because judges reason first."""
    text = answer.rpartition("</think>")[2].partition("<think>")[0]
    if wrapped := _WRAPPED.findall(text):
        text = "".join(wrapped[-1])
    if json_scores := _scores_in_json(text):
        text = json_scores[-1]
    if alone := _ALONE.fullmatch(text):
        return [_found_score(alone)]
    labelled = {(match[1] or "").lower(): _found_score(match) for match in _LABELLED.finditer(text)}
    for labels in (_FINAL_LABELS, _GENERIC_LABELS):
        if final := [score for label, score in labelled.items() if label in labels]:
            return final[-1:]
    return [*labelled.values()]


def _found_score(match: re.Match[str]) -> FoundScore:
    return FoundScore(float(match[2]), None if match[3] is None else float(match[3]))


def _scores_in_json(text: str) -> list[str]:
    """The values under the key `score` of all JSON objects in the text."""
    scores = []
    start = text.find("{")
    while start >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            scores += [str(item) for key, item in value.items() if key.lower() == "score"]
        start = text.find("{", end)
    return scores
