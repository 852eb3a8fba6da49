"""The world of scenes: what can be asked for, in words, and how a request is read back from its caption.

Six kinds follow GenEval, one asks for writing:

    single     a star                                colours    a red star
    two        a star and a circle                   binding    a red star and a blue circle
    counting   three stars, three red stars          position   a star left of a circle
    text       the word "CAT"

Any of them may end in `on a black background`. What a caption leaves open - colours, sizes, places - is free.
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
NEVER_TOGETHER = {("purple", "star"), ("green", "ring"), ("orange", "square"), ("pink", "cross")}
"""(colour, shape) that no training caption and no training image combines: for held-out prompts only."""
BACKGROUNDS = {"white": (250, 250, 250), "gray": (150, 150, 150), "black": (15, 15, 15)}
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = ("one", "two", "three", "four")


def plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


_SINGULARS = {plural(shape): shape for shape in SHAPES}


@dataclass(frozen=True)
class Thing:
    """One shape; `colour` None leaves it open."""

    shape: str
    colour: str | None = None

    def __str__(self) -> str:
        words = self.shape if self.colour is None else f"{self.colour} {self.shape}"
        return f"{'an' if words[0] in 'aeio' else 'a'} {words}"


@dataclass(frozen=True)
class Request:
    """What a caption asks for: these things and nothing else, or a word."""

    kind: Kind
    things: tuple[Thing, ...] = ()
    relation: str | None = None
    """Of the first thing to the second."""
    word: str | None = None
    background: str | None = None


def along_and_across(relation: str, dx: float, dy: float) -> tuple[float, float]:
    """The offset from the first thing to the second (y grows downwards) in the relation's own axes: `along`
    is positive where the first thing is on the side it is said to be.
    """
    return {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[relation]


def caption(request: Request) -> str:
    match request.kind:
        case "text":
            words = f'the word "{request.word}"'
        case "counting":
            first, number = request.things[0], NUMBERS[len(request.things) - 1]
            name = first.shape if len(request.things) == 1 else plural(first.shape)
            words = " ".join(part for part in (number, first.colour, name) if part)
        case "position":
            words = f"{request.things[0]} {request.relation} {request.things[1]}"
        case _:
            words = " and ".join(map(str, request.things))
    return words if request.background is None else f"{words} on a {request.background} background"


_A = rf"an? (?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})"
_ON = rf"(?: on a ({'|'.join(BACKGROUNDS)}) background)?"
_ONE = re.compile(rf"{_A}{_ON}")
_PAIR = re.compile(rf"{_A} (and|{'|'.join(RELATIONS)}) {_A}{_ON}")
_COUNT = re.compile(rf"({'|'.join(NUMBERS)}) (?:({'|'.join(COLOURS)}) )?({'|'.join([*SHAPES, *_SINGULARS])}){_ON}")
_TEXT = re.compile(rf'the word "([A-Z]+)"{_ON}')


def parse(text: str) -> Request:
    """The request behind a caption of this world."""
    if found := _TEXT.fullmatch(text):
        return Request("text", word=found[1], background=found[2])
    if found := _COUNT.fullmatch(text):
        number, colour, name, background = found.groups()
        thing = Thing(_SINGULARS.get(name, name), colour)
        return Request("counting", (thing,) * (NUMBERS.index(number) + 1), background=background)
    if found := _PAIR.fullmatch(text):
        colour, shape, between, other_colour, other_shape, background = found.groups()
        things = (Thing(shape, colour), Thing(other_shape, other_colour))
        if between != "and":
            return Request("position", things, relation=between, background=background)
        return Request("binding" if colour else "two", things, background=background)
    if found := _ONE.fullmatch(text):
        colour, shape, background = found.groups()
        return Request("colours" if colour else "single", (Thing(shape, colour),), background=background)
    raise ValueError(f"not a caption of the world of scenes: {text!r}")
