import itertools
import random

import pytest

from mixgrpo.scenes.captions import KINDS, UNSEEN_PAIRS, Request, RequestedShape, caption, parse
from mixgrpo.scenes.prompts import evaluation_requests, held_out, train_requests, unseen
from mixgrpo.scenes.render import SIZE, compose, draw, relation_holds


def test_captions() -> None:
    star, circle = RequestedShape("star", "red"), RequestedShape("circle", "blue")
    assert caption(Request("single", (RequestedShape("star"),))) == "a star"
    assert caption(Request("colours", (RequestedShape("star", "orange"),))) == "an orange star"
    assert caption(Request("binding", (star, circle), background="gray")) == (
        "a red star and a blue circle on a gray background"
    )
    assert caption(Request("counting", (RequestedShape("cross"),) * 3)) == "three crosses"
    assert caption(Request("counting", (star,))) == "one red star"
    assert (
        caption(Request("position", (RequestedShape("star"), RequestedShape("ring")), relation="left of"))
        == "a star left of a ring"
    )
    assert caption(Request("text", word="CAT")) == 'the word "CAT"'


def test_parsing_a_caption_gives_back_its_request() -> None:
    for request in [*itertools.islice(train_requests(0), 2000), *evaluation_requests()]:
        assert parse(caption(request)) == request


@pytest.mark.parametrize("text", ["a dog", "a red star and", "five stars", 'the word "cat"', ""])
def test_other_texts_are_errors(text: str) -> None:
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


def test_training_has_no_held_out_requests_and_no_unseen_pairs() -> None:
    rng = random.Random(0)
    for request in itertools.islice(train_requests(1), 3000):
        assert not held_out(request)
        assert not {(shape.colour, shape.name) for shape in compose(request, rng).shapes} & UNSEEN_PAIRS


def test_the_training_stream_has_every_kind_and_depends_on_the_seed() -> None:
    drawn = list(itertools.islice(train_requests(0), 7000))
    assert all(500 < sum(request.kind == kind for request in drawn) < 2000 for kind in KINDS)
    assert drawn[:50] == list(itertools.islice(train_requests(0), 50))
    assert drawn[:50] != list(itertools.islice(train_requests(1), 50))


def test_scenes_satisfy_their_request() -> None:
    rng = random.Random(0)
    for request in itertools.islice(train_requests(2), 500):
        scene = compose(request, rng)
        assert [shape.name for shape in scene.shapes] == [shape.name for shape in request.shapes]
        assert all(r.colour in (None, p.colour) for r, p in zip(request.shapes, scene.shapes, strict=True))
        assert request.background in (None, scene.background)
        if request.relation is not None:
            assert relation_holds(request.relation, *scene.shapes)
        image = draw(scene)
        assert image.shape == (SIZE, SIZE, 3)
        assert (image[0] == image[0, 0]).all()  # no shape touches the edge
