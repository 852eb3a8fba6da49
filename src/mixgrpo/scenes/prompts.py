"""Which captions are for training and which are held out: an endless train stream and a fixed evaluation set.

A request is held out by its content alone: by a hash of its caption, or because it names a colour and shape
that are never seen together. Training draws from the rest, so the two cannot overlap.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping

from .captions import BACKGROUNDS, COLOURS, NEVER_TOGETHER, NUMBERS, RELATIONS, SHAPES, Kind, Request, Thing, caption

_HELD_OUT_SHARE = 5  # one in so many
_TRAIN_SHARES: dict[Kind, int] = {
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
    return unseen(request) or _hash(caption(request)) % _HELD_OUT_SHARE == 0


def unseen(request: Request) -> bool:
    """Whether it combines what training never combines."""
    return any((thing.colour, thing.shape) in NEVER_TOGETHER for thing in request.things)


def train_requests(seed: int, shares: Mapping[Kind, int] = _TRAIN_SHARES) -> Iterator[Request]:
    """Endless, never one that is held out. In pre-training the two kinds that are hardest come twice as often."""
    rng = random.Random(seed)
    while True:
        request = _draw(rng.choices([*shares], [*shares.values()])[0], rng)
        if not held_out(request):
            yield request


def evaluation_requests() -> list[Request]:
    """The held-out set: fixed, all different, sorted by kind."""
    rng = random.Random("evaluation")
    chosen: dict[str, Request] = {}
    for kind, size in EVALUATION_SIZES.items():
        found: dict[str, Request] = {}
        while len(found) < size:
            request = _draw(kind, rng)
            if held_out(request):
                found[caption(request)] = request
        chosen |= found
    return list(chosen.values())


def _draw(kind: Kind, rng: random.Random) -> Request:
    background = rng.choice([None, None, None, *BACKGROUNDS])
    if kind == "text":
        word = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(3, 5)))
        return Request(kind, word=word, background=background)
    first, second = rng.sample(SHAPES, 2)
    colour, other = rng.sample([*COLOURS], 2)
    match kind:
        case "single":
            return Request(kind, (Thing(first),), background=background)
        case "colours":
            return Request(kind, (Thing(first, colour),), background=background)
        case "two":
            return Request(kind, (Thing(first), Thing(second)), background=background)
        case "position":
            return Request(kind, (Thing(first), Thing(second)), relation=rng.choice(RELATIONS), background=background)
        case "binding":
            return Request(kind, (Thing(first, colour), Thing(second, other)), background=background)
        case "counting":
            thing = Thing(first, rng.choice([None, colour]))
            return Request(kind, (thing,) * rng.randint(1, len(NUMBERS)), background=background)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
