"""`mixgrpo serve-reward` in a process of its own, and what must not bring it down."""

import base64
import itertools
import json
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from PIL import Image
from typer.testing import CliRunner

from messages import bomb, message
from mixgrpo import __version__
from mixgrpo.cli.main import app
from mixgrpo.rewards.clients.remote import remote
from mixgrpo.rewards.clients.wire import Limits
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.registry import find_reward
from mixgrpo.scenes.captions import caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.render import compose, draw
from servers import reward_server

JSON = {"Content-Type": "application/json"}
OWN_REWARD = """
import time

def score(images, prompts, **metadata):
    if "raise" in prompts:
        raise RuntimeError("no such thing")
    if "slow" in prompts:
        time.sleep(0.2)
    if "nothing" in prompts:
        return [float("nan")] * len(images)
    return [image.getpixel((0, 0))[0] + metadata["offset"][i] for i, image in enumerate(images)]
"""


def post(url: str, body: bytes, **headers: str) -> tuple[int, Any]:
    answer = urllib3.request("POST", url + "/v1/score", body=body, headers={**JSON, **headers}, retries=False)
    return answer.status, json.loads(answer.data)


def get(url: str, path: str, **headers: str) -> tuple[int, Any]:
    answer = urllib3.request("GET", url + path, headers=headers, retries=False)
    return answer.status, json.loads(answer.data)


def gray(value: int, size: int = 3) -> Image.Image:
    return Image.new("RGB", (size, size), (value, value, value))


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("own") / "own.py"
    file.write_text(OWN_REWARD, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def own(own_file: Path) -> Iterator[str]:
    with reward_server(f"{own_file}:score") as (url, _):
        yield url


def test_a_shipped_reward_scores_the_same_from_a_server() -> None:
    requests = [*itertools.islice(train_requests(0), 12)]
    rng = random.Random(0)
    images = [Image.fromarray(draw(compose(request, rng))) for request in requests]
    prompts = [caption(request) for request in [*requests[1:], requests[0]]]  # another's: scores differ
    expected = find_reward("scenes", RewardConfig())(images, prompts)
    assert len(set(expected)) > 3
    with reward_server("scenes") as (url, _):
        assert get(url, "/health") == (200, {"status": "ok"})
        assert get(url, "/version") == (200, {"reward": "scenes", "mixgrpo": __version__, "protocol": 1})
        for form in ("raw", "png"):
            assert remote(url=url, form=form)(images, prompts) == expected


def test_answers_belong_to_the_right_images_from_8_threads(own: str) -> None:
    reward = remote(url=own)

    def ask(i: int) -> list[float]:
        values = [(7 * i + j) % 256 for j in range(1 + i % 5)]
        scores = reward([gray(v, 1 + v % 9) for v in values], ["p"] * len(values), offset=[i / 1000] * len(values))
        return [score - value - i / 1000 for score, value in zip(scores, values, strict=True)]

    before = get(own, "/metrics")[1]
    with ThreadPoolExecutor(8) as pool:
        errors = [error for errors in pool.map(ask, range(160)) for error in errors]
    assert errors == pytest.approx([0.0] * len(errors), abs=1e-9)
    after = get(own, "/metrics")[1]
    assert after["requests"] - before["requests"] == 160
    assert after["images"] - before["images"] == len(errors)
    assert after["batches"] - before["batches"] <= 160
    assert after["queue_images"] == after["open_requests"] == 0
    assert 0 < after["latency_seconds"]["p50"] <= after["latency_seconds"]["p99"]


def test_what_is_wrong_gets_a_sentence_and_the_server_lives(own: str) -> None:
    failures = get(own, "/metrics")[1]["failures"]
    big = bytes(Limits().body + 8 * 2**20)  # refused while it is still being sent
    png_bomb = base64.b64encode(bomb(60_000, 60_000)).decode()
    cases: list[tuple[bytes, int, str]] = [
        (b"{", 400, "the JSON: "),
        (message(images=["AAAA"]), 400, "images.0: no PNG"),
        (message(images=[png_bomb]), 413, "images.0: "),
        (big, 413, "a body of more than 268435456 bytes: send fewer images at a time"),
        (message(prompts=["raise"]), 500, "raised RuntimeError: no such thing"),
        (message(), 500, "raised KeyError: 'offset'"),
    ]
    for body, status, sentence in cases:
        given, answer = post(own, body)
        assert given == status
        assert sentence in answer["detail"]
    assert post(own, message(prompts=["nothing"])) == (200, {"scores": [None]})
    assert get(own, "/metrics")[1]["failures"] - failures == 2


def test_a_token_is_asked_for_where_one_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("gehéim\n", encoding="utf-8")
    monkeypatch.setenv("A_TOKEN", "gehéim")
    with reward_server("scenes-aesthetic", "--token-file", str(tmp_path / "token")) as (url, _):
        for wrong in ({}, {"Authorization": "Bearer geheim"}, {"Authorization": "gehéim"}):
            # Large: who is refused while still sending must hear it all the same.
            assert post(url, bytes(8 * 2**20), **wrong) == (401, {"detail": "the token is missing or wrong"})
            assert get(url, "/metrics", **wrong)[0] == get(url, "/version", **wrong)[0] == 401
        assert get(url, "/health")[0] == 200
        assert remote(url=url, token_env="A_TOKEN")([gray(0)], ["a"]) == [0.0]


def test_more_requests_than_fit_are_told_to_come_back(own_file: Path) -> None:
    slow = message(prompts=["slow"], metadata={"offset": [0]})
    with reward_server(f"{own_file}:score", "--max-requests", "1") as (url, _), ThreadPoolExecutor(3) as pool:
        answers = [*pool.map(lambda _: post(url, slow)[0], range(3))]
        assert sorted(answers) == [200, 503, 503]


def test_a_stop_answers_what_was_asked_before(own_file: Path) -> None:
    with reward_server(f"{own_file}:score") as (url, process), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, url, message(prompts=["slow"], metadata={"offset": [0]}))
        while get(url, "/metrics")[1]["open_requests"] == 0:
            pass
        process.send_signal(signal.SIGTERM)
        assert asked.result()[0] == 200
        assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["scenes", "--host", "0.0.0.0"], "--host 0.0.0.0 can be reached from other machines: give a token"),
        (["scenes", "--token-env", "NOT_SET"], "the environment variable NOT_SET is not set"),
        (["scnes"], "there is no reward 'scnes'"),
        (["scenes", "device"], "'device' is not an option: write option=value"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_no_traceback(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["serve-reward", *arguments])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
