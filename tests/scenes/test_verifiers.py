"""The accuracy of the verifiers, on images with known content. The figures in README and NOTES are from here."""

import dataclasses
import itertools
import random
import string
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from mixgrpo.rewards.functions.edit_distance import similarity
from mixgrpo.rewards.functions.ocr import ocr
from mixgrpo.scenes.aesthetic import aesthetic_score
from mixgrpo.scenes.analysis import Pixels, analyse
from mixgrpo.scenes.captions import COLOURS, RELATIONS, SHAPES, Request, RequestedShape, caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.reading import read_word
from mixgrpo.scenes.render import PlacedShape, Scene, compose, draw
from mixgrpo.scenes.verifier import graded, strict

FAULTS = ("shape", "colour", "count", "relation", "binding", "letter", "background")


def with_fault(request: Request, fault: str, rng: random.Random) -> Request | None:
    """The request with one fault of this kind, or None if it cannot have it."""
    shapes = list(request.shapes)
    first = shapes[0] if shapes else None
    match fault:
        case "letter" if request.word is not None:
            i = rng.randrange(len(request.word))
            letter = rng.choice([c for c in string.ascii_uppercase if c != request.word[i]])
            return dataclasses.replace(request, word=request.word[:i] + letter + request.word[i + 1 :])
        case "background" if request.background is not None:
            other = rng.choice([name for name in ("white", "gray", "black") if name != request.background])
            return dataclasses.replace(request, background=other)
        case "shape" if first is not None and request.kind != "counting":
            name = rng.choice([s for s in SHAPES if s not in {shape.name for shape in shapes}])
            shapes[0] = RequestedShape(name, first.colour)
        case "colour" if first is not None and first.colour is not None and request.kind != "counting":
            colour = rng.choice([c for c in COLOURS if c not in {shape.colour for shape in shapes}])
            shapes[0] = RequestedShape(first.name, colour)
        case "count" if request.kind == "counting" and first is not None:
            shapes = [first] * rng.choice([n for n in (1, 2, 3, 4) if n != len(shapes)])
        case "relation" if request.relation is not None:
            return dataclasses.replace(request, relation=rng.choice([r for r in RELATIONS if r != request.relation]))
        case "binding" if request.kind == "binding":
            a, b = shapes
            shapes = [RequestedShape(a.name, b.colour), RequestedShape(b.name, a.colour)]
        case _:
            return None
    return dataclasses.replace(request, shapes=tuple(shapes))


def requests_with_fault(fault: str, count: int) -> Iterator[tuple[Request, Request]]:
    rng = random.Random(fault)
    pairs = ((request, with_fault(request, fault, rng)) for request in train_requests(11))
    return itertools.islice(((right, wrong) for right, wrong in pairs if wrong is not None), count)


def test_correct_images_are_accepted() -> None:
    """The strict verifier accepts at least 99% of 1500 rendered images of all kinds."""
    rng = random.Random(0)
    requests = list(itertools.islice(train_requests(7), 1500))
    accepted = [strict(draw(compose(request, rng)), request) for request in requests]
    assert np.mean(accepted) >= 0.99


@pytest.mark.parametrize("fault", FAULTS)
def test_images_with_one_fault_are_rejected(fault: str) -> None:
    """The strict verifier accepts at most 1% of 300 images per fault, and the fault lowers the graded score too."""
    rng = random.Random(1)
    pairs = [(right, draw(compose(wrong, rng))) for right, wrong in requests_with_fault(fault, 300)]
    assert np.mean([strict(image, right) for right, image in pairs]) <= 0.01
    assert np.mean([graded(image, right) for right, image in pairs]) < 0.95


def test_graded_is_1_if_strict_accepts_and_otherwise_between_0_and_1() -> None:
    rng = random.Random(2)
    images = [(request, draw(compose(request, rng))) for request in itertools.islice(train_requests(5), 150)]
    for (request, image), (other, _) in itertools.pairwise(images):
        assert graded(image, request) == 1 or not strict(image, request)
        assert 0 <= graded(image, other) <= 1


def test_partial_credit() -> None:
    scene = Scene("white", (PlacedShape("star", "red", 20, 20, 10), PlacedShape("circle", "blue", 44, 44, 10)))
    image = draw(scene)
    scores = {
        "correct": graded(image, Request("binding", (RequestedShape("star", "red"), RequestedShape("circle", "blue")))),
        "one of two colours": graded(
            image, Request("binding", (RequestedShape("star", "red"), RequestedShape("circle", "green")))
        ),
        "one shape too many": graded(image, Request("single", (RequestedShape("star"),))),
    }
    # number, shapes, colours: (1 + 1 + 1/2) / 3; number, shapes: (1/2 + 1) / 2
    assert scores == {
        "correct": 1.0,
        "one of two colours": pytest.approx(5 / 6),
        "one shape too many": pytest.approx(0.75),
    }


def test_empty_and_noisy_images_are_rejected() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for image in (np.full((64, 64, 3), 128, dtype=np.uint8), noise):
        for request in itertools.islice(train_requests(9), 40):
            assert not strict(image, request)


def test_the_word_is_read() -> None:
    rng = random.Random(3)
    words = ["".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 5))) for _ in range(300)]
    right = [read_word(draw(compose(Request("text", word=word), rng))) == word for word in words]
    assert np.mean(right) >= 0.99


def test_a_general_ocr_engine_reads_the_same_words() -> None:
    """RapidOCR confirms that what the world of scenes renders is legible text."""
    rng = random.Random(5)
    words = ["".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 5))) for _ in range(10)]
    images = [Image.fromarray(draw(compose(Request("text", word=word), rng))) for word in words]
    assert np.mean(ocr()(images, [f'the word "{word}"' for word in words])) >= 0.9


def test_similarity_is_the_normalised_edit_distance() -> None:
    assert similarity("CAT", "CAT") == 1
    assert similarity("CART", "CAT") == pytest.approx(0.75)
    assert similarity("", "CAT") == 0
    assert similarity("", "") == 1


def test_words_are_not_accepted_as_shapes_nor_shapes_as_words() -> None:
    rng = random.Random(4)
    for request in itertools.islice(train_requests(13), 60):
        other = Request("text", word="CAT") if request.word is None else Request("single", (RequestedShape("star"),))
        assert not strict(draw(compose(request, rng)), other), caption(request)


def test_the_aesthetic_score() -> None:
    def score(*shapes: PlacedShape, background: str = "black") -> float:
        return aesthetic_score(draw(Scene(background, shapes)))

    centred = score(PlacedShape("circle", "yellow", 32, 32, 10))
    assert centred == pytest.approx(1.0, abs=0.02)
    assert score(PlacedShape("circle", "yellow", 14, 32, 10)) < centred - 0.3  # off balance, near the edge
    assert score(PlacedShape("circle", "purple", 32, 32, 10), background="gray") < centred - 0.1  # little contrast
    assert score() == 0


def test_a_tall_bar_is_not_a_shape() -> None:
    image: Pixels = np.full((64, 64, 3), 250, dtype=np.uint8)
    image[5:60, 30:36] = COLOURS["red"]
    assert [shape.name for shape in analyse(image).shapes] == [None]
