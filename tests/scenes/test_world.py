import itertools
import random

import pytest

from mixgrpo.scenes.captions import KINDS, NEVER_TOGETHER, Request, Thing, caption, parse
from mixgrpo.scenes.prompts import evaluation_requests, held_out, train_requests, unseen
from mixgrpo.scenes.render import SIZE, compose, draw, holds


def test_captions_by_hand() -> None:
    star, circle = Thing("star", "red"), Thing("circle", "blue")
    assert caption(Request("single", (Thing("star"),))) == "a star"
    assert caption(Request("colours", (Thing("star", "orange"),))) == "an orange star"
    assert caption(Request("binding", (star, circle), background="gray")) == (
        "a red star and a blue circle on a gray background"
    )
    assert caption(Request("counting", (Thing("cross"),) * 3)) == "three crosses"
    assert caption(Request("counting", (star,))) == "one red star"
    assert caption(Request("position", (Thing("star"), Thing("ring")), relation="left of")) == "a star left of a ring"
    assert caption(Request("text", word="CAT")) == 'the word "CAT"'


def test_a_caption_says_all_of_its_request() -> None:
    for request in [*itertools.islice(train_requests(0), 2000), *evaluation_requests()]:
        assert parse(caption(request)) == request


@pytest.mark.parametrize("text", ["a dog", "a red star and", "five stars", 'the word "cat"', ""])
def test_other_sentences_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a caption"):
        parse(text)


def test_the_evaluation_set_is_fixed_large_and_disjoint_from_training() -> None:
    evaluation = [caption(request) for request in evaluation_requests()]
    assert len(evaluation) == len(set(evaluation)) >= 512
    assert evaluation == [caption(request) for request in evaluation_requests()]
    training = {caption(request) for request in itertools.islice(train_requests(3), 20_000)}
    assert not training & set(evaluation)
    assert {request.kind for request in evaluation_requests()} == set(KINDS)
    assert sum(map(unseen, evaluation_requests())) >= 50


def test_training_never_shows_what_is_never_together() -> None:
    rng = random.Random(0)
    for request in itertools.islice(train_requests(1), 3000):
        assert not held_out(request)
        assert not {(thing.colour, thing.shape) for thing in compose(request, rng).things} & NEVER_TOGETHER


def test_training_draws_every_kind_and_anew_from_each_seed() -> None:
    drawn = list(itertools.islice(train_requests(0), 7000))
    assert all(500 < sum(request.kind == kind for request in drawn) < 2000 for kind in KINDS)
    assert drawn[:50] == list(itertools.islice(train_requests(0), 50))
    assert drawn[:50] != list(itertools.islice(train_requests(1), 50))


def test_scenes_show_their_request() -> None:
    rng = random.Random(0)
    for request in itertools.islice(train_requests(2), 500):
        scene = compose(request, rng)
        assert [thing.shape for thing in scene.things] == [thing.shape for thing in request.things]
        assert all(t.colour in (None, p.colour) for t, p in zip(request.things, scene.things, strict=True))
        assert request.background in (None, scene.background)
        if request.relation is not None:
            assert holds(request.relation, *scene.things)
        picture = draw(scene)
        assert picture.shape == (SIZE, SIZE, 3)
        assert (picture[0] == picture[0, 0]).all()  # nothing reaches the edge
