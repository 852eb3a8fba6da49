"""GenEval's rules by hand, and in the world of scenes, where the project's own verifiers are the detector."""

import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixgrpo.rewards.functions.geneval import Box, Thing, by_class, geneval, partial, relations, strict
from mixgrpo.scenes.captions import Request, caption
from mixgrpo.scenes.captions import Thing as Shape
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.render import compose, draw

DETECTOR = """
import numpy
from mixgrpo.rewards.sight import look

def detect(image):
    things = look(numpy.asarray(image)).things
    return [(t.shape, (t.left, t.top, t.right, t.bottom), 1.0, t.colour) for t in things]

def colourless(image):
    return [found[:3] for found in detect(image)]
"""
LEFT: Box = (0, 0, 10, 10)
RIGHT: Box = (30, 2, 40, 12)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("given") / "detector.py"
    path.write_text(DETECTOR)
    return f"{path}:detect"


def row(request: Request) -> dict[str, Any]:
    """A request as GenEval's files say it; nothing but what is asked for may be there."""
    counting = request.kind == "counting"
    things = request.things[:1] if counting else request.things
    count = len(request.things) if counting else 1
    include: list[dict[str, Any]] = [{"class": thing.shape, "count": count} for thing in things]
    for clause, thing in zip(include, things, strict=True):
        if thing.colour is not None:
            clause["color"] = thing.colour
    if request.relation is not None:
        # A clause can only refer to an earlier one.
        include = [include[1], {**include[0], "position": [request.relation, 0]}]
    exclude = [{"class": clause["class"], "count": clause["count"] + 1} for clause in include]
    return {"tag": request.kind, "include": include, "exclude": exclude}


@pytest.mark.parametrize("rule", ["strict", "partial"])
def test_true_pictures_are_right_and_others_are_not(detector: str, rule: Any) -> None:
    rng = random.Random(0)
    requests = [request for request in islice(train_requests(3), 150) if request.word is None]
    pictures = [Image.fromarray(draw(compose(request, rng))) for request in requests]
    prompts, rows = [*map(caption, requests)], [*map(row, requests)]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    reward = geneval(detector=detector, rule=rule)
    assert np.mean(reward(pictures, prompts, **columns)) > 0.99
    assert np.mean(reward(pictures[1:] + pictures[:1], prompts, **columns)) < 0.5


def test_partial_credit_by_hand() -> None:
    def stars(*colours: str) -> list[Thing]:
        return [Thing("star", LEFT, 1.0, colour) for colour in colours]

    three = [{"class": "star", "count": 3, "color": "red"}]
    assert partial({"star": stars("red", "red", "red")}, three) == 1
    assert partial({"star": stars("red", "red", "blue")}, three) == pytest.approx((1 + 2 / 3) / 2)
    assert partial({"star": stars("red", "red")}, three) == pytest.approx((2 / 3 + 0) / 2)
    assert partial({}, three) == 0

    beside = [{"class": "ring", "count": 1}, {"class": "star", "count": 1, "position": ["left of", 0]}]
    assert partial({"ring": [Thing("ring", RIGHT, 1.0)], "star": stars("red")}, beside) == 1
    assert partial({"ring": [Thing("ring", LEFT, 1.0)], "star": stars("red")}, beside) == 3 / 4  # number, number, 0, 1
    assert partial({"star": stars("red")}, beside) == pytest.approx(1 / 3)  # no ring, a star, beside nothing


def test_the_strict_verdict_allows_more_than_asked_for_unless_that_is_excluded() -> None:
    things = by_class([Thing("star", LEFT, 0.5, "blue"), Thing("star", RIGHT, 0.9, "red")], 0.3)
    red = [{"class": "star", "count": 1, "color": "red"}]
    assert strict(things, red, [])  # the surest one is red
    assert not strict(things, red, [{"class": "star", "count": 2}])
    assert not strict(things, [{"class": "star", "count": 2, "color": "red"}], [])
    assert not strict(things, [{"class": "star", "count": 3}], [])


@pytest.mark.parametrize(
    ("box", "seen"),
    [
        ((-30, 0, -20, 10), {"left of"}),
        ((0, 30, 10, 40), {"below"}),
        ((30, -30, 40, -20), {"right of", "above"}),
        ((30, 12, 40, 22), {"right of"}),  # down by less than half of the distance
        ((1, 1, 11, 11), set()),  # within a tenth of both sizes
        ((0, 0, 10, 10), set()),
    ],
)
def test_relations_by_hand(box: Box, seen: set[str]) -> None:
    assert relations(box, LEFT) == seen


def test_counting_asks_for_more_certainty(tmp_path: Path) -> None:
    path = tmp_path / "unsure.py"
    path.write_text("def detect(image):\n    return [('star', (0, 0, 9, 9), 0.5), ('ring', (0, 0, 9, 9), 0.2)]\n")
    reward, star = geneval(detector=f"{path}:detect"), [{"class": "star", "count": 1}]
    pictures, include = [Image.new("RGB", (9, 9))] * 3, [star, star, [{"class": "ring", "count": 1}]]
    assert reward(pictures, ["p"] * 3, tag=["single_object", "counting", "single_object"], include=include) == [1, 0, 0]


def test_what_cannot_be_judged_is_an_error(detector: str) -> None:
    picture = Image.fromarray(draw(compose(next(train_requests(0)), random.Random(0))))
    with pytest.raises(ValueError, match="column `include` says nothing for 'a star'"):
        geneval(detector=detector)([picture], ["a star"], tag=["colors"])
    colourless = geneval(detector=detector.replace(":detect", ":colourless"))
    star = Image.fromarray(draw(compose(Request("colours", (Shape("star", "red"),)), random.Random(0))))
    with pytest.raises(ValueError, match="a red star is asked for, but the detector names no colour"):
        colourless([star], ["a red star"], include=[[{"class": "star", "count": 1, "color": "red"}]])
