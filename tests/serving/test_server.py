"""`mixgrpo serve-reward` in a process of its own: correct scores, and errors that must not stop it."""

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
from mixgrpo.bench.local_servers import reward_server
from mixgrpo.cli.main import app
from mixgrpo.rewards.clients.remote import remote
from mixgrpo.rewards.clients.wire import Limits
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.registry import find_reward
from mixgrpo.scenes.captions import caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.render import compose, draw

JSON = {"Content-Type": "application/json"}
CUSTOM_REWARD = """
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
    response = urllib3.request("POST", url + "/v1/score", body=body, headers={**JSON, **headers}, retries=False)
    return response.status, json.loads(response.data)


def get(url: str, path: str, **headers: str) -> tuple[int, Any]:
    response = urllib3.request("GET", url + path, headers=headers, retries=False)
    return response.status, json.loads(response.data)


def gray(value: int, size: int = 3) -> Image.Image:
    return Image.new("RGB", (size, size), (value, value, value))


@pytest.fixture(scope="module")
def custom_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("custom") / "custom.py"
    file.write_text(CUSTOM_REWARD, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def custom(custom_file: Path) -> Iterator[str]:
    with reward_server(f"{custom_file}:score") as (url, _):
        yield url


def test_a_built_in_reward_gives_the_same_scores_from_a_server() -> None:
    requests = [*itertools.islice(train_requests(0), 12)]
    rng = random.Random(0)
    images = [Image.fromarray(draw(compose(request, rng))) for request in requests]
    prompts = [caption(request) for request in [*requests[1:], requests[0]]]  # of other images, so that scores differ
    expected = find_reward("scenes", RewardConfig())(images, prompts)
    assert len(set(expected)) > 3
    with reward_server("scenes") as (url, _):
        assert get(url, "/health") == (200, {"status": "ok"})
        assert get(url, "/version") == (200, {"reward": "scenes", "mixgrpo": __version__, "protocol": 1})
        for form in ("raw", "png"):
            assert remote(url=url, form=form)(images, prompts) == expected


def test_8_concurrent_clients_get_the_scores_of_their_own_images(custom: str) -> None:
    reward = remote(url=custom)

    def errors_of(i: int) -> list[float]:
        values = [(7 * i + j) % 256 for j in range(1 + i % 5)]
        scores = reward([gray(v, 1 + v % 9) for v in values], ["p"] * len(values), offset=[i / 1000] * len(values))
        return [score - value - i / 1000 for score, value in zip(scores, values, strict=True)]

    before = get(custom, "/metrics")[1]
    with ThreadPoolExecutor(8) as pool:
        errors = [error for errors in pool.map(errors_of, range(160)) for error in errors]
    assert errors == pytest.approx([0.0] * len(errors), abs=1e-9)
    after = get(custom, "/metrics")[1]
    assert after["requests"] - before["requests"] == 160
    assert after["images"] - before["images"] == len(errors)
    assert after["batches"] - before["batches"] <= 160
    assert after["queue_images"] == after["open_requests"] == after["memory_bytes"] == 0
    assert 0 < after["latency_seconds"]["p50"] <= after["latency_seconds"]["p99"]


def test_errors_are_explained_and_the_server_survives(custom: str) -> None:
    failures = get(custom, "/metrics")[1]["failures"]
    big = bytes(Limits().body + 8 * 2**20)  # refused before all of it is sent
    png_bomb = base64.b64encode(bomb(60_000, 60_000)).decode()
    cases: list[tuple[bytes, int, str]] = [
        (b"{", 400, "the JSON: "),
        (message(images=["AAAA"]), 400, "images.0: not a PNG"),
        (message(images=[png_bomb]), 413, "images.0: "),
        (big, 413, "the body has more than 134217728 bytes: send fewer images per request"),
        (message(prompts=["raise"]), 500, "failed: RuntimeError: no such thing"),
        (message(), 500, "failed: KeyError: 'offset'"),
    ]
    for body, status, sentence in cases:
        given, answer = post(custom, body)
        assert given == status
        assert sentence in answer["detail"]
    assert post(custom, message(prompts=["nothing"])) == (200, {"scores": [None]})
    assert get(custom, "/metrics")[1]["failures"] - failures == 2


def test_a_server_with_a_token_requires_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("gehéim\n", encoding="utf-8")
    monkeypatch.setenv("A_TOKEN", "gehéim")
    with reward_server("scenes-aesthetic", "--token-file", str(tmp_path / "token")) as (url, _):
        for wrong in ({}, {"Authorization": "Bearer geheim"}, {"Authorization": "gehéim"}):
            # A large body: the client must get the response even if it is refused while still sending.
            assert post(url, bytes(8 * 2**20), **wrong) == (401, {"detail": "the token is missing or wrong"})
            assert get(url, "/metrics", **wrong)[0] == get(url, "/version", **wrong)[0] == 401
        assert get(url, "/health")[0] == 200
        assert remote(url=url, token_env="A_TOKEN")([gray(0)], ["a"]) == [0.0]


def test_requests_beyond_the_limit_get_status_503(custom_file: Path) -> None:
    slow = message(prompts=["slow"], metadata={"offset": [0]})
    with reward_server(f"{custom_file}:score", "--max-requests", "1") as (url, _), ThreadPoolExecutor(3) as pool:
        answers = [*pool.map(lambda _: post(url, slow)[0], range(3))]
        assert sorted(answers) == [200, 503, 503]


def test_a_graceful_stop_completes_open_requests(custom_file: Path) -> None:
    with reward_server(f"{custom_file}:score") as (url, process), ThreadPoolExecutor(1) as pool:
        response = pool.submit(post, url, message(prompts=["slow"], metadata={"offset": [0]}))
        while get(url, "/metrics")[1]["open_requests"] == 0:
            pass
        process.send_signal(signal.SIGTERM)
        assert response.result()[0] == 200
        assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["scenes", "--host", "0.0.0.0"], "--host 0.0.0.0 can be reached from other machines: give a token"),
        (["scenes", "--token-env", "NOT_SET"], "the environment variable NOT_SET is not set"),
        (
            ["scenes", "--token-env", "BAD_TOKEN"],
            "the environment variable BAD_TOKEN holds a token that no",
        ),
        (["scnes"], "there is no reward 'scnes'"),
        (["scenes", "device"], "'device' is not an option: write option=value"),
    ],
)
def test_invalid_arguments_give_a_single_line_and_no_traceback(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAD_TOKEN", "s3cret\nx")
    result = CliRunner().invoke(app, ["serve-reward", *arguments])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "s3cret" not in result.stderr
