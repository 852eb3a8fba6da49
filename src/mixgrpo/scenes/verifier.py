"""Verify from pixels alone whether an image of the world of scenes shows what its caption requests.

`strict` is True only if everything is right: exactly the requested shapes, in the requested colours, positions and
numbers, and nothing else; or exactly the letters of the requested word. `graded` gives partial credit in [0, 1].
"""

import itertools

from mixgrpo.rewards.functions.edit_distance import similarity

from .analysis import DetectedShape, ImageContent, Pixels, analyse, background
from .captions import Request, along_and_across
from .reading import read_word

_MAX_CLUTTER = 30  # pixels of specks that `strict` tolerates
_MAX_MATCHED = 6  # detected shapes that are matched with requested ones


def strict(image: Pixels, request: Request) -> bool:
    if request.word is not None:
        return read_word(image) == request.word and _background_matches(image, request)
    content = analyse(image)
    complete = len(content.shapes) == len(request.shapes) and content.clutter <= _MAX_CLUTTER
    return complete and _grade_shapes(content, request) == 1.0


def graded(image: Pixels, request: Request) -> float:
    if request.word is not None:
        score = similarity(read_word(image), request.word)
        return score if _background_matches(image, request) else 0.75 * score
    return _grade_shapes(analyse(image), request)


def _background_matches(image: Pixels, request: Request) -> bool:
    return request.background is None or background(image) == request.background


def _grade_shapes(content: ImageContent, request: Request) -> float:
    """The mean score of everything requested: number, shapes, colours, relation, background. Detected shapes are
    assigned to requested ones so that the mean is highest.
    """
    requested, detected = request.shapes, content.shapes
    number = 1 - abs(len(requested) - len(detected)) / max(len(requested), len(detected))
    candidates: list[DetectedShape | None] = [
        *detected[:_MAX_MATCHED],
        *[None] * (len(requested) - len(detected)),
    ]
    background_score = [] if request.background is None else [float(content.background == request.background)]
    return max(
        _mean([number, *_assignment_scores(assigned, request), *background_score])
        for assigned in itertools.permutations(candidates, len(requested))
    )


def _assignment_scores(assigned: tuple[DetectedShape | None, ...], request: Request) -> list[float]:
    """Scores for the shapes, for the requested colours if any, and for the relation if any."""
    pairs = list(zip(request.shapes, assigned, strict=True))
    scores = [_mean([found is not None and found.name == wanted.name for wanted, found in pairs])]
    if coloured := [(wanted, found) for wanted, found in pairs if wanted.colour is not None]:
        scores.append(_mean([found is not None and found.colour == wanted.colour for wanted, found in coloured]))
    if request.relation is not None:
        first, second = assigned
        holds = first is not None and second is not None and _relation_holds(request.relation, first, second)
        scores.append(float(holds))
    return scores


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _relation_holds(relation: str, first: DetectedShape, second: DetectedShape) -> bool:
    """The offset from the first shape to the second lies mostly along the relation's axis."""
    dx, dy = second.x - first.x, second.y - first.y
    along, across = along_and_across(relation, dx, dy)
    return along > abs(across)
