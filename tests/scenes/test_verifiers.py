"""The verifiers' own quality, on pictures whose truth is known. The figures in README and NOTES are from here."""

import dataclasses
import itertools
import random
import string
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from mixgrpo.rewards.functions.ocr import ocr
from mixgrpo.scenes.aesthetic import pleasantness
from mixgrpo.scenes.captions import COLOURS, RELATIONS, SHAPES, Request, Thing, caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.reading import read, similarity
from mixgrpo.scenes.render import Placed, Scene, compose, draw
from mixgrpo.scenes.sight import Pixels, look
from mixgrpo.scenes.verifier import graded, strict

FAULTS = ("shape", "colour", "count", "relation", "binding", "letter", "background")


def one_thing_wrong(request: Request, fault: str, rng: random.Random) -> Request | None:
    """The request changed in exactly this; None where it has no such thing."""
    things = list(request.things)
    first = things[0] if things else None
    match fault:
        case "letter" if request.word is not None:
            i = rng.randrange(len(request.word))
            letter = rng.choice([c for c in string.ascii_uppercase if c != request.word[i]])
            return dataclasses.replace(request, word=request.word[:i] + letter + request.word[i + 1 :])
        case "background" if request.background is not None:
            other = rng.choice([name for name in ("white", "gray", "black") if name != request.background])
            return dataclasses.replace(request, background=other)
        case "shape" if first is not None and request.kind != "counting":
            shape = rng.choice([s for s in SHAPES if s not in {thing.shape for thing in things}])
            things[0] = Thing(shape, first.colour)
        case "colour" if first is not None and first.colour is not None and request.kind != "counting":
            colour = rng.choice([c for c in COLOURS if c not in {thing.colour for thing in things}])
            things[0] = Thing(first.shape, colour)
        case "count" if request.kind == "counting" and first is not None:
            things = [first] * rng.choice([n for n in (1, 2, 3, 4) if n != len(things)])
        case "relation" if request.relation is not None:
            return dataclasses.replace(request, relation=rng.choice([r for r in RELATIONS if r != request.relation]))
        case "binding" if request.kind == "binding":
            things = [Thing(things[0].shape, things[1].colour), Thing(things[1].shape, things[0].colour)]
        case _:
            return None
    return dataclasses.replace(request, things=tuple(things))


def wrong_pairs(fault: str, count: int) -> Iterator[tuple[Request, Request]]:
    rng = random.Random(fault)
    pairs = ((request, one_thing_wrong(request, fault, rng)) for request in train_requests(11))
    return itertools.islice(((right, wrong) for right, wrong in pairs if wrong is not None), count)


def test_true_pictures_are_accepted() -> None:
    """Strict acceptance >= 99% on 1500 ground-truth renders, of every kind."""
    rng = random.Random(0)
    requests = list(itertools.islice(train_requests(7), 1500))
    accepted = [strict(draw(compose(request, rng)), request) for request in requests]
    assert np.mean(accepted) >= 0.99


@pytest.mark.parametrize("fault", FAULTS)
def test_pictures_with_one_thing_wrong_are_refused(fault: str) -> None:
    """False acceptance <= 1% on 300 renders of each fault; and the graded score sees the fault too."""
    rng = random.Random(1)
    pairs = [(right, draw(compose(wrong, rng))) for right, wrong in wrong_pairs(fault, 300)]
    assert np.mean([strict(picture, right) for right, picture in pairs]) <= 0.01
    assert np.mean([graded(picture, right) for right, picture in pairs]) < 0.95


def test_graded_is_1_where_strict_is_and_between_0_and_1_elsewhere() -> None:
    rng = random.Random(2)
    pictures = [(request, draw(compose(request, rng))) for request in itertools.islice(train_requests(5), 150)]
    for (request, picture), (other, _) in itertools.pairwise(pictures):
        assert graded(picture, request) == 1 or not strict(picture, request)
        assert 0 <= graded(picture, other) <= 1


def test_partial_credit_by_hand() -> None:
    scene = Scene("white", (Placed("star", "red", 20, 20, 10), Placed("circle", "blue", 44, 44, 10)))
    picture = draw(scene)
    scores = {
        "as asked": graded(picture, Request("binding", (Thing("star", "red"), Thing("circle", "blue")))),
        "one colour of two": graded(picture, Request("binding", (Thing("star", "red"), Thing("circle", "green")))),
        "one more": graded(picture, Request("single", (Thing("star"),))),
    }
    # number, shapes, colours: (1 + 1 + 1/2) / 3; number, shapes: (1/2 + 1) / 2
    assert scores == {"as asked": 1.0, "one colour of two": pytest.approx(5 / 6), "one more": pytest.approx(0.75)}


def test_an_empty_or_noisy_picture_shows_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for picture in (np.full((64, 64, 3), 128, dtype=np.uint8), noise):
        for request in itertools.islice(train_requests(9), 40):
            assert not strict(picture, request)


def test_reading() -> None:
    rng = random.Random(3)
    words = ["".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 5))) for _ in range(300)]
    right = [read(draw(compose(Request("text", word=word), rng))) == word for word in words]
    assert np.mean(right) >= 0.99


def test_a_real_ocr_engine_reads_the_same() -> None:
    """RapidOCR, as a second opinion on what the world calls writing."""
    rng = random.Random(5)
    words = ["".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 5))) for _ in range(10)]
    pictures = [Image.fromarray(draw(compose(Request("text", word=word), rng))) for word in words]
    assert np.mean(ocr()(pictures, [f'the word "{word}"' for word in words])) >= 0.9


def test_similarity_is_the_normalised_edit_distance() -> None:
    assert similarity("CAT", "CAT") == 1
    assert similarity("CART", "CAT") == pytest.approx(0.75)
    assert similarity("", "CAT") == 0
    assert similarity("", "") == 1


def test_looking_at_shapes_is_not_reading_and_the_other_way_round() -> None:
    rng = random.Random(4)
    for request in itertools.islice(train_requests(13), 60):
        other = Request("text", word="CAT") if request.word is None else Request("single", (Thing("star"),))
        assert not strict(draw(compose(request, rng)), other), caption(request)


def test_aesthetic_by_hand() -> None:
    def score(*things: Placed, background: str = "black") -> float:
        return pleasantness(draw(Scene(background, things)))

    centred = score(Placed("circle", "yellow", 32, 32, 10))
    assert centred == pytest.approx(1.0, abs=0.02)
    assert score(Placed("circle", "yellow", 14, 32, 10)) < centred - 0.3  # off balance, near the edge
    assert score(Placed("circle", "purple", 32, 32, 10), background="gray") < centred - 0.1  # little contrast
    assert score() == 0


def test_a_tall_smear_is_no_shape() -> None:
    picture: Pixels = np.full((64, 64, 3), 250, dtype=np.uint8)
    picture[5:60, 30:36] = COLOURS["red"]
    assert [thing.shape for thing in look(picture).things] == [None]
