"""GenEval's rules on hand-made cases, and in the world of scenes, whose image analysis is the detector."""

import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixgrpo.rewards.functions.geneval import Box, Detection, by_class, geneval, partial, relations, strict
from mixgrpo.scenes.captions import Request, RequestedShape, caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.render import compose, draw

DETECTOR = """
import numpy
from mixgrpo.scenes.analysis import analyse

def detect(image):
    shapes = analyse(numpy.asarray(image)).shapes
    return [(s.name, (s.left, s.top, s.right, s.bottom), 1.0, s.colour) for s in shapes]

def colourless(image):
    return [found[:3] for found in detect(image)]
"""
LEFT: Box = (0, 0, 10, 10)
RIGHT: Box = (30, 2, 40, 12)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("detector") / "detector.py"
    path.write_text(DETECTOR)
    return f"{path}:detect"


def row(request: Request) -> dict[str, Any]:
    """A request in the format of GenEval's files. `exclude` forbids additional shapes."""
    counting = request.kind == "counting"
    shapes = request.shapes[:1] if counting else request.shapes
    count = len(request.shapes) if counting else 1
    include: list[dict[str, Any]] = [{"class": shape.name, "count": count} for shape in shapes]
    for clause, shape in zip(include, shapes, strict=True):
        if shape.colour is not None:
            clause["color"] = shape.colour
    if request.relation is not None:
        # A clause can only refer to an earlier one.
        include = [include[1], {**include[0], "position": [request.relation, 0]}]
    exclude = [{"class": clause["class"], "count": clause["count"] + 1} for clause in include]
    return {"tag": request.kind, "include": include, "exclude": exclude}


@pytest.mark.parametrize("rule", ["strict", "partial"])
def test_correct_images_score_high_and_swapped_images_low(detector: str, rule: Any) -> None:
    rng = random.Random(0)
    requests = [request for request in islice(train_requests(3), 150) if request.word is None]
    images = [Image.fromarray(draw(compose(request, rng))) for request in requests]
    prompts, rows = [*map(caption, requests)], [*map(row, requests)]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    reward = geneval(detector=detector, rule=rule)
    assert np.mean(reward(images, prompts, **columns)) > 0.99
    assert np.mean(reward(images[1:] + images[:1], prompts, **columns)) < 0.5


def test_partial_credit() -> None:
    def stars(*colours: str) -> list[Detection]:
        return [Detection("star", LEFT, 1.0, colour) for colour in colours]

    three = [{"class": "star", "count": 3, "color": "red"}]
    assert partial({"star": stars("red", "red", "red")}, three) == 1
    assert partial({"star": stars("red", "red", "blue")}, three) == pytest.approx((1 + 2 / 3) / 2)
    assert partial({"star": stars("red", "red")}, three) == pytest.approx((2 / 3 + 0) / 2)
    assert partial({}, three) == 0

    star_left_of_ring = [{"class": "ring", "count": 1}, {"class": "star", "count": 1, "position": ["left of", 0]}]
    assert partial({"ring": [Detection("ring", RIGHT, 1.0)], "star": stars("red")}, star_left_of_ring) == 1
    assert (
        partial({"ring": [Detection("ring", LEFT, 1.0)], "star": stars("red")}, star_left_of_ring) == 3 / 4
    )  # count, count, 0, 1
    assert partial({"star": stars("red")}, star_left_of_ring) == pytest.approx(
        1 / 3
    )  # no ring, a star, no reference object


def test_the_strict_rule_allows_additional_objects_unless_they_are_excluded() -> None:
    detections = by_class([Detection("star", LEFT, 0.5, "blue"), Detection("star", RIGHT, 0.9, "red")], 0.3)
    red = [{"class": "star", "count": 1, "color": "red"}]
    assert strict(detections, red, [])  # the most confident one is red
    assert not strict(detections, red, [{"class": "star", "count": 2}])
    assert not strict(detections, [{"class": "star", "count": 2, "color": "red"}], [])
    assert not strict(detections, [{"class": "star", "count": 3}], [])


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((-30, 0, -20, 10), {"left of"}),
        ((0, 30, 10, 40), {"below"}),
        ((30, -30, 40, -20), {"right of", "above"}),
        ((30, 12, 40, 22), {"right of"}),  # below by less than half of the distance
        ((1, 1, 11, 11), set()),  # within the tolerance
        ((0, 0, 10, 10), set()),
    ],
)
def test_relations(box: Box, expected: set[str]) -> None:
    assert relations(box, LEFT) == expected


def test_counting_uses_the_higher_threshold(tmp_path: Path) -> None:
    path = tmp_path / "detector.py"
    path.write_text("def detect(image):\n    return [('star', (0, 0, 9, 9), 0.5), ('ring', (0, 0, 9, 9), 0.2)]\n")
    reward, star = geneval(detector=f"{path}:detect"), [{"class": "star", "count": 1}]
    images, include = [Image.new("RGB", (9, 9))] * 3, [star, star, [{"class": "ring", "count": 1}]]
    assert reward(images, ["p"] * 3, tag=["single_object", "counting", "single_object"], include=include) == [1, 0, 0]


def test_missing_columns_and_missing_colours_are_errors(detector: str) -> None:
    image = Image.fromarray(draw(compose(next(train_requests(0)), random.Random(0))))
    with pytest.raises(ValueError, match="column `include` is missing or empty for 'a star'"):
        geneval(detector=detector)([image], ["a star"], tag=["colors"])
    colourless = geneval(detector=detector.replace(":detect", ":colourless"))
    star = Image.fromarray(draw(compose(Request("colours", (RequestedShape("star", "red"),)), random.Random(0))))
    with pytest.raises(ValueError, match="the prompt specifies a red star, but the detector returns no colour"):
        colourless([star], ["a red star"], include=[[{"class": "star", "count": 1, "color": "red"}]])
