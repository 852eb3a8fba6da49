import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from messages import noise
from mixgrpo.rewards.clients.endpoints import AllDown, Refused
from mixgrpo.rewards.clients.remote import remote
from mixgrpo.rewards.clients.wire import Limits, decode
from servers import Answer, Asked, address_where_nothing_listens, answering, as_json


def means(asked: Asked) -> Answer:
    """A reward server of the other kind: the same protocol on another stack."""
    scoring = decode(asked.body, asked.headers["Content-Type"], Limits())
    return as_json({"scores": [float(np.asarray(image).mean()) for image in scoring.images]})


def test_scores_come_back_in_order_and_metadata_goes_along() -> None:
    images = [noise(4, 4, seed) for seed in range(5)]
    with answering(means) as server:
        scores = remote(url=f"{server.url}/")(images, list("abcde"), kind=[1, 2, None, 4, 5])
    assert scores == [float(np.asarray(image).mean()) for image in images]
    assert server.asked[0].path == "/v1/score"
    assert decode(server.asked[0].body, "application/octet-stream", Limits()).metadata == {"kind": [1, 2, None, 4, 5]}


def test_an_image_without_a_score_is_nan_and_never_a_zero() -> None:
    with answering(lambda _: as_json({"scores": [0.5, None]})) as server:
        first, second = remote(url=server.url)([noise(2, 2)] * 2, ["a", "b"])
    assert first == 0.5
    assert math.isnan(second)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"scores": [0.5]}, "1 scores for 2 images"),
        ({"scores": ["0.5", 1]}, "scores.0: Input should be a valid number"),
        ({"score": [1, 2]}, "scores: Field required"),
        ([1, 2], "the JSON: "),
    ],
)
def test_an_answer_that_is_none_is_no_score(answer: Any, why: str) -> None:
    with answering(lambda _: as_json(answer)) as server, pytest.raises(AllDown) as error:
        remote(url=server.url, retries=1, backoff=0.001)([noise(2, 2)] * 2, ["a", "b"])
    assert why in str(error.value)
    assert len(server.asked) == 2


def test_threads_share_it_and_lose_nothing_when_every_third_answer_fails() -> None:
    faults = (
        Answer(status=500),
        Answer(b"{}"),
        Answer(b'{"scores": [1.0]}' + b" " * 99, cut_at=50),
        Answer(hang_up=True),
    )

    def flapping(asked: Asked) -> Answer:
        return faults[asked.number // 3 % 4] if asked.number % 3 == 0 else means(asked)

    images = [Image.new("RGB", (2, 2), (v, v, v)) for v in range(60)]
    with answering(flapping) as server, ThreadPoolExecutor(8) as pool:
        reward = remote(url=server.url, retries=10, backoff=0.001)
        assert [*pool.map(lambda image: reward([image], ["p"]), images)] == [[float(v)] for v in range(60)]
    assert len(server.asked) > 80


def test_a_server_that_is_down_is_named_with_the_command_that_starts_one() -> None:
    url = address_where_nothing_listens()
    with pytest.raises(AllDown, match=rf"3 attempts over .* {url}/v1/score: .*mixgrpo serve-reward NAME --port PORT"):
        remote(url=url, retries=2, backoff=0.01)([noise(2, 2)], ["a"])


def test_a_refusal_says_what_the_server_said() -> None:
    with answering(lambda _: as_json({"detail": "300 images: must be at most 256"}, status=413)) as server:
        with pytest.raises(Refused, match="300 images: must be at most 256"):
            remote(url=server.url)([noise(2, 2)], ["a"])
        assert len(server.asked) == 1


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_TOKEN", raising=False)
    with pytest.raises(ValueError, match="the environment variable NO_TOKEN is not set"):
        remote(url="http://127.0.0.1:8300", token_env="NO_TOKEN")
    monkeypatch.setenv("A_TOKEN", " secret\n")
    with answering(means) as server:
        remote(url=server.url, token_env="A_TOKEN")([noise(2, 2)], ["a"])
    assert server.asked[0].headers["Authorization"] == "Bearer secret"
