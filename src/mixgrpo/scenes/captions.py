"""The captions of the world of scenes: what they can request, how they are worded, and how they are parsed.

Six kinds follow GenEval, the seventh requests written text:

    single     a star                                colours    a red star
    two        a star and a circle                   binding    a red star and a blue circle
    counting   three stars, three red stars          position   a star left of a circle
    text       the word "CAT"

Each may end in `on a black background`. Colours, sizes and positions that a caption does not mention are free.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["single", "two", "counting", "colours", "position", "binding", "text"]
KINDS: tuple[Kind, ...] = ("single", "two", "counting", "colours", "position", "binding", "text")

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {
    "red": (220, 40, 40),
    "orange": (250, 140, 20),
    "yellow": (245, 220, 40),
    "green": (40, 160, 60),
    "cyan": (40, 200, 220),
    "blue": (50, 90, 235),
    "purple": (140, 55, 190),
    "pink": (250, 130, 190),
}
UNSEEN_PAIRS = {("purple", "star"), ("green", "ring"), ("orange", "square"), ("pink", "cross")}
"""(colour, shape) pairs that occur in no training caption and no training image, only in held-out prompts."""
BACKGROUNDS = {"white": (250, 250, 250), "gray": (150, 150, 150), "black": (15, 15, 15)}
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = ("one", "two", "three", "four")


def plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


_SINGULARS = {plural(shape): shape for shape in SHAPES}


@dataclass(frozen=True)
class RequestedShape:
    name: str
    colour: str | None = None
    """None: any colour."""

    def __str__(self) -> str:
        words = self.name if self.colour is None else f"{self.colour} {self.name}"
        return f"{'an' if words[0] in 'aeio' else 'a'} {words}"


@dataclass(frozen=True)
class Request:
    """The meaning of a caption: the image must show exactly these shapes, or a word."""

    kind: Kind
    shapes: tuple[RequestedShape, ...] = ()
    relation: str | None = None
    """The position of the first shape relative to the second."""
    word: str | None = None
    background: str | None = None


def along_and_across(relation: str, dx: float, dy: float) -> tuple[float, float]:
    """The offset from the first shape to the second, along the relation's axis and across it. `along` is positive if
    the first shape is on the requested side. y grows downwards.
    """
    return {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[relation]


def caption(request: Request) -> str:
    match request.kind:
        case "text":
            words = f'the word "{request.word}"'
        case "counting":
            first, number = request.shapes[0], NUMBERS[len(request.shapes) - 1]
            name = first.name if len(request.shapes) == 1 else plural(first.name)
            words = " ".join(part for part in (number, first.colour, name) if part)
        case "position":
            words = f"{request.shapes[0]} {request.relation} {request.shapes[1]}"
        case _:
            words = " and ".join(map(str, request.shapes))
    return words if request.background is None else f"{words} on a {request.background} background"


_A = rf"an? (?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})"
_ON = rf"(?: on a ({'|'.join(BACKGROUNDS)}) background)?"
_ONE = re.compile(rf"{_A}{_ON}")
_PAIR = re.compile(rf"{_A} (and|{'|'.join(RELATIONS)}) {_A}{_ON}")
_COUNT = re.compile(rf"({'|'.join(NUMBERS)}) (?:({'|'.join(COLOURS)}) )?({'|'.join([*SHAPES, *_SINGULARS])}){_ON}")
_TEXT = re.compile(rf'the word "([A-Z]+)"{_ON}')


def parse(text: str) -> Request:
    """The request that a caption expresses. Raises a ValueError for any other text."""
    if match := _TEXT.fullmatch(text):
        return Request("text", word=match[1], background=match[2])
    if match := _COUNT.fullmatch(text):
        number, colour, name, background = match.groups()
        shape = RequestedShape(_SINGULARS.get(name, name), colour)
        return Request("counting", (shape,) * (NUMBERS.index(number) + 1), background=background)
    if match := _PAIR.fullmatch(text):
        colour, name, between, other_colour, other_name, background = match.groups()
        shapes = (RequestedShape(name, colour), RequestedShape(other_name, other_colour))
        if between != "and":
            return Request("position", shapes, relation=between, background=background)
        return Request("binding" if colour else "two", shapes, background=background)
    if match := _ONE.fullmatch(text):
        colour, name, background = match.groups()
        return Request("colours" if colour else "single", (RequestedShape(name, colour),), background=background)
    raise ValueError(f"not a caption of the world of scenes: {text!r}")
