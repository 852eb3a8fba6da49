"""What happens to scores when servers fail: a reward server and a judge, with passing and permanent faults.

60 images, each with a score of its own, are sent from 8 threads, one per request. A passing fault hits every third
request, a permanent one all of them. A score is correct, or missing (none, or an error that says why), or wrong:
anything else, such as 0 or another image's score.
"""

import base64
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from PIL import Image

from mixgrpo.rewards.calling import judged
from mixgrpo.rewards.clients.endpoints import AllServersFailed
from mixgrpo.rewards.clients.judge import vlm_judge
from mixgrpo.rewards.clients.remote import remote
from mixgrpo.rewards.clients.wire import Limits, decode
from mixgrpo.rewards.reward import Reward

from .local_servers import Answer, Request, address_where_nothing_listens, as_json, local_server
from .progress import Track

GRAY_LEVELS = range(5, 245, 4)
_TIMEOUT, _THREADS = 0.3, 8
FAULTS = {
    "slow": Answer(b"{}", delay=2 * _TIMEOUT),
    "status 500": Answer(b"out of memory", status=500),
    "status 503": Answer(status=503, headers={"Retry-After": "0"}),
    "cut off": Answer(b'{"scores": [0.5], "choices": []}' + b" " * 1000, cut_at=20),
    "hang-up": Answer(hang_up=True),
    "malformed": Answer(b"<html>Bad gateway</html>"),
}


def measure(track: Track) -> dict[str, Any]:
    cases: list[tuple[str, str, Callable[[], dict[str, Any]]]] = []
    for kind in _CORRECT:
        for name, fault in FAULTS.items():
            cases.append((kind, f"{name}, every third", partial(passing, kind, fault)))
        cases.append((kind, "malformed, always", partial(permanent, kind, [FAULTS["malformed"]], correct=0)))
        cases.append((kind, "down", partial(permanent, kind, [None], correct=0)))
    cases.append(("judge", "one of three endpoints down", partial(permanent, "judge", [None], correct=2)))
    broken = [None, FAULTS["hang-up"], FAULTS["status 500"]]
    cases.append(("judge", "three of five down or broken", partial(permanent, "judge", broken, correct=2)))
    with _without_warnings():
        rows = [{"client": client, "fault": fault, **run()} for client, fault, run in track(cases)]
    return {"images": len(GRAY_LEVELS), "threads": _THREADS, "rows": rows}


def passing(kind: str, fault: Answer, every: int = 3) -> dict[str, Any]:
    """One server that fails at every third request."""

    def answer(request: Request) -> Answer:
        return fault if request.number % every == 0 else _CORRECT[kind](request)

    with local_server(answer) as server:
        return {**_outcomes(_client(kind, [server.url])), "requests": len(server.requests)}


def permanent(kind: str, faults: Sequence[Answer | None], correct: int) -> dict[str, Any]:
    """A server per fault, which never works, followed by so many correct ones. None: nothing listens there."""
    with ExitStack() as stack:
        answers = [*(None if fault is None else _always(fault) for fault in faults), *[_CORRECT[kind]] * correct]
        servers = [None if answer is None else stack.enter_context(local_server(answer)) for answer in answers]
        urls = [address_where_nothing_listens() if server is None else server.url for server in servers]
        outcomes = _outcomes(_client(kind, urls))
        return {**outcomes, "requests": sum(len(server.requests) for server in servers if server is not None)}


def _always(fault: Answer) -> Callable[[Request], Answer]:
    return lambda request: fault


def _outcomes(reward: Reward) -> dict[str, Any]:
    def outcome(level: int) -> str:
        try:
            score = reward([_gray(level)], ["a gray square"])[0]
        except AllServersFailed as error:
            return str(error)
        if not judged(score):
            return "no score"
        return "correct" if abs(score - level / 255) < 1e-6 else "wrong"

    begin = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = [*pool.map(outcome, GRAY_LEVELS)]
    errors = [text for text in outcomes if text not in ("correct", "wrong", "no score")]
    return {
        "correct": outcomes.count("correct"),
        "missing": outcomes.count("no score") + len(errors),
        "wrong": outcomes.count("wrong"),
        "seconds": time.perf_counter() - begin,
        "error": errors[0] if errors else None,
    }


def _client(kind: str, urls: list[str]) -> Reward:
    if kind == "remote":
        return remote(url=urls[0], timeout=_TIMEOUT, retries=6, backoff=0.02)
    return vlm_judge(urls=urls, model="judge", timeout=_TIMEOUT, retries=6, backoff=0.02)


def _reward_answer(request: Request) -> Answer:
    images = decode(request.body, request.headers["Content-Type"], Limits()).images
    return as_json({"scores": [_level(image) / 255 for image in images]})


def _judge_answer(request: Request) -> Answer:
    url = json.loads(request.body)["messages"][0]["content"][0]["image_url"]["url"]
    level = _level(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    content = f"A gray square.\nFinal Score: {1 + 4 * level / 255}"
    return as_json({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})


_CORRECT: dict[str, Callable[[Request], Answer]] = {"remote": _reward_answer, "judge": _judge_answer}


def _gray(level: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (level, level, level))


def _level(image: Image.Image) -> int:
    level = image.convert("L").getpixel((0, 0))
    assert isinstance(level, int)
    return level


@contextmanager
def _without_warnings() -> Iterator[None]:
    """The clients log every failure."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
