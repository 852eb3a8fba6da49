"""Does a picture show what its caption asks for? Verified on pixels alone, in the world of scenes.

`strict` is 0 or 1: exactly the things asked for, in their colours, places and numbers, and nothing else; for
a word, exactly its letters. `graded` gives partial credit in [0, 1].
"""

import itertools

from .captions import Request, along_and_across
from .reading import read, similarity
from .sight import Pixels, Seen, Sight, background, look

_CLUTTER = 30  # pixels of specks that a clean picture may have
_MOST_THINGS = 6  # more are not matched one by one


def strict(picture: Pixels, request: Request) -> bool:
    if request.word is not None:
        return read(picture) == request.word and _right_background(picture, request)
    sight = look(picture)
    complete = len(sight.things) == len(request.things) and sight.clutter <= _CLUTTER
    return complete and _graded_things(sight, request) == 1.0


def graded(picture: Pixels, request: Request) -> float:
    if request.word is not None:
        written = similarity(read(picture), request.word)
        return written if _right_background(picture, request) else 0.75 * written
    return _graded_things(look(picture), request)


def _right_background(picture: Pixels, request: Request) -> bool:
    return request.background is None or background(picture) == request.background


def _graded_things(sight: Sight, request: Request) -> float:
    """The mean of what is asked for: number, shapes, colours, relation, background, under the assignment of
    things seen to things asked for that is best.
    """
    asked, seen = request.things, sight.things
    number = 1 - abs(len(asked) - len(seen)) / max(len(asked), len(seen))
    candidates: list[Seen | None] = [*seen[:_MOST_THINGS], *[None] * (len(asked) - len(seen))]
    behind = [] if request.background is None else [float(sight.background == request.background)]
    return max(
        _mean([number, *_marks(chosen, request), *behind]) for chosen in itertools.permutations(candidates, len(asked))
    )


def _marks(chosen: tuple[Seen | None, ...], request: Request) -> list[float]:
    """Shapes, colours where they are asked for, and the relation."""
    pairs = list(zip(request.things, chosen, strict=True))
    marks = [_mean([thing is not None and thing.shape == wanted.shape for wanted, thing in pairs])]
    if coloured := [(wanted, thing) for wanted, thing in pairs if wanted.colour is not None]:
        marks.append(_mean([thing is not None and thing.colour == wanted.colour for wanted, thing in coloured]))
    if request.relation is not None:
        first, second = chosen
        marks.append(float(first is not None and second is not None and _holds(request.relation, first, second)))
    return marks


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _holds(relation: str, first: Seen, second: Seen) -> bool:
    """The offset from the first thing to the second lies mostly along the relation's axis."""
    dx, dy = second.x - first.x, second.y - first.y
    along, across = along_and_across(relation, dx, dy)
    return along > abs(across)
