"""Which captions are used for training and which are held out: an endless training stream and a fixed evaluation set.

Whether a request is held out depends only on its content: on a hash of its caption, or on whether it contains an unseen
pair of colour and shape. Training uses all other requests, so the two sets cannot overlap.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping

from .captions import (
    BACKGROUNDS,
    COLOURS,
    NUMBERS,
    RELATIONS,
    SHAPES,
    UNSEEN_PAIRS,
    Kind,
    Request,
    RequestedShape,
    caption,
)

_HELD_OUT_ONE_IN = 5  # captions
_TRAIN_WEIGHTS: dict[Kind, int] = {
    "single": 1,
    "two": 1,
    "counting": 1,
    "colours": 1,
    "position": 2,
    "binding": 2,
    "text": 1,
}
EVALUATION_SIZES: dict[Kind, int] = {
    "single": 4,
    "two": 20,
    "counting": 90,
    "colours": 40,
    "position": 80,
    "binding": 140,
    "text": 140,
}


def held_out(request: Request) -> bool:
    return unseen(request) or _hash(caption(request)) % _HELD_OUT_ONE_IN == 0


def unseen(request: Request) -> bool:
    """Whether the request contains a pair of colour and shape that never occurs in training."""
    return any((shape.colour, shape.name) in UNSEEN_PAIRS for shape in request.shapes)


def train_requests(seed: int, weights: Mapping[Kind, int] = _TRAIN_WEIGHTS) -> Iterator[Request]:
    """An endless stream without held-out requests. By default, as in pre-training, the two hardest kinds are twice as
    frequent as the others.
    """
    rng = random.Random(seed)
    while True:
        request = _random_request(rng.choices([*weights], [*weights.values()])[0], rng)
        if not held_out(request):
            yield request


def evaluation_requests() -> list[Request]:
    """The held-out set: fixed, without duplicates, sorted by kind."""
    rng = random.Random("evaluation")
    requests: dict[str, Request] = {}
    for kind, size in EVALUATION_SIZES.items():
        of_kind: dict[str, Request] = {}
        while len(of_kind) < size:
            request = _random_request(kind, rng)
            if held_out(request):
                of_kind[caption(request)] = request
        requests |= of_kind
    return list(requests.values())


def _random_request(kind: Kind, rng: random.Random) -> Request:
    background = rng.choice([None, None, None, *BACKGROUNDS])
    if kind == "text":
        word = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(3, 5)))
        return Request(kind, word=word, background=background)
    first, second = rng.sample(SHAPES, 2)
    colour, other = rng.sample([*COLOURS], 2)
    match kind:
        case "single":
            return Request(kind, (RequestedShape(first),), background=background)
        case "colours":
            return Request(kind, (RequestedShape(first, colour),), background=background)
        case "two":
            return Request(kind, (RequestedShape(first), RequestedShape(second)), background=background)
        case "position":
            shapes = (RequestedShape(first), RequestedShape(second))
            return Request(kind, shapes, relation=rng.choice(RELATIONS), background=background)
        case "binding":
            return Request(kind, (RequestedShape(first, colour), RequestedShape(second, other)), background=background)
        case "counting":
            shape = RequestedShape(first, rng.choice([None, colour]))
            return Request(kind, (shape,) * rng.randint(1, len(NUMBERS)), background=background)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
