import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from messages import noise
from mixgrpo.bench.local_servers import Answer, Request, address_where_nothing_listens, as_json, local_server
from mixgrpo.rewards.clients.endpoints import AllServersFailed, Endpoints, RequestRefused
from mixgrpo.rewards.clients.remote import Remote, remote
from mixgrpo.rewards.clients.wire import SCORE_PATH, Limits, decode


def means(request: Request) -> Answer:
    """Another implementation of the protocol, whose scores are the mean pixel values."""
    score_request = decode(request.body, request.headers["Content-Type"], Limits())
    return as_json({"scores": [float(np.asarray(image).mean()) for image in score_request.images]})


def test_scores_are_in_order_and_metadata_is_sent() -> None:
    images = [noise(4, 4, seed) for seed in range(5)]
    with local_server(means) as server:
        scores = remote(url=f"{server.url}/")(images, list("abcde"), kind=[1, 2, None, 4, 5])
    assert scores == [float(np.asarray(image).mean()) for image in images]
    assert server.requests[0].path == "/v1/score"
    assert decode(server.requests[0].body, "application/octet-stream", Limits()).metadata == {
        "kind": [1, 2, None, 4, 5]
    }


@pytest.mark.parametrize("form", ["raw", "png"])
def test_more_than_a_server_accepts_is_sent_in_parts(form: Any) -> None:
    """514 images, as in the first evaluation of `scenes`, one of them of 16 megapixels."""
    images = [Image.new("RGB", (4096, 4096) if i == 9 else (256, 256), (i // 256, i % 256, 0)) for i in range(514)]

    def numbers(request: Request) -> Answer:
        score_request = decode(request.body, request.headers["Content-Type"], Limits())
        corners = [image.getpixel((0, 0)) for image in score_request.images]
        assert score_request.metadata["number"] == [256 * r + g for r, g, _ in corners]  # type: ignore[misc]
        return as_json({"scores": score_request.metadata["number"]})

    with local_server(numbers) as server:
        scores = remote(url=server.url, form=form)(images, ["p"] * 514, number=[*range(514)])
    assert scores == [*range(514)]
    assert 3 <= len(server.requests) <= 8


def test_parts_are_within_the_limit_of_the_body() -> None:
    with local_server(means) as server:
        endpoints = Endpoints(
            [server.url], SCORE_PATH, headers={}, timeout=5, retries=0, backoff=1, connections=1, hint=""
        )
        scores = Remote(endpoints, "raw", Limits(body=3000))([noise(2, 2)] * 4, ["p"] * 4, text=["x" * 1000] * 4)
    assert len(scores) == 4
    assert [len(request.body) < 3000 for request in server.requests] == [True, True]


def test_an_image_without_a_score_is_nan() -> None:
    with local_server(lambda _: as_json({"scores": [0.5, None]})) as server:
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
def test_an_invalid_response_is_retried_and_then_an_error(answer: Any, why: str) -> None:
    with local_server(lambda _: as_json(answer)) as server, pytest.raises(AllServersFailed) as error:
        remote(url=server.url, retries=1, backoff=0.001)([noise(2, 2)] * 2, ["a", "b"])
    assert why in str(error.value)
    assert len(server.requests) == 2


def test_threads_get_all_scores_even_if_every_third_response_fails() -> None:
    faults = (
        Answer(status=500),
        Answer(b"{}"),
        Answer(b'{"scores": [1.0]}' + b" " * 99, cut_at=50),
        Answer(hang_up=True),
    )

    def unreliable(request: Request) -> Answer:
        return faults[request.number // 3 % 4] if request.number % 3 == 0 else means(request)

    images = [Image.new("RGB", (2, 2), (v, v, v)) for v in range(60)]
    with local_server(unreliable) as server, ThreadPoolExecutor(8) as pool:
        reward = remote(url=server.url, retries=10, backoff=0.001)
        assert [*pool.map(lambda image: reward([image], ["p"]), images)] == [[float(v)] for v in range(60)]
    assert len(server.requests) > 80


def test_the_error_for_a_server_that_is_down_has_its_url_and_the_command_to_start_it() -> None:
    url = address_where_nothing_listens()
    with pytest.raises(
        AllServersFailed, match=rf"3 attempts over .* {url}/v1/score: .*mixgrpo serve-reward NAME --port PORT"
    ):
        remote(url=url, retries=2, backoff=0.01)([noise(2, 2)], ["a"])


def test_a_refusal_quotes_the_server() -> None:
    with local_server(lambda _: as_json({"detail": "300 images: must be at most 256"}, status=413)) as server:
        with pytest.raises(RequestRefused, match="300 images: must be at most 256"):
            remote(url=server.url)([noise(2, 2)], ["a"])
        assert len(server.requests) == 1


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_TOKEN", raising=False)
    with pytest.raises(ValueError, match="the environment variable NO_TOKEN is not set"):
        remote(url="http://127.0.0.1:8300", token_env="NO_TOKEN")
    monkeypatch.setenv("A_TOKEN", " secret\n")
    with local_server(means) as server:
        remote(url=server.url, token_env="A_TOKEN")([noise(2, 2)], ["a"])
    assert server.requests[0].headers["Authorization"] == "Bearer secret"
