"""Servers that fail now and then: what is asked again, where, and when it ends."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from mixgrpo.rewards.clients.endpoints import AllDown, Endpoints, Refused, rest
from servers import Answer, Asked, address_where_nothing_listens, answering


def endpoints(*urls: str, retries: int = 3, timeout: float = 5.0, backoff: float = 0.01) -> Endpoints:
    return Endpoints(
        urls, headers={"X": "y"}, timeout=timeout, retries=retries, backoff=backoff, connections=8, hint="Start it."
    )


def number(body: bytes) -> int:
    return int(body)


def ask(*urls: str, retries: int = 3, timeout: float = 5.0) -> int:
    return endpoints(*urls, retries=retries, timeout=timeout).ask(b"?", "text/plain", number)


def first_then_7(bad: Answer, times: int = 2) -> Callable[[Asked], Answer]:
    return lambda asked: bad if asked.number < times else Answer(b"7")


def test_rests_double_are_drawn_from_their_upper_half_and_heed_the_server() -> None:
    assert [rest(n, 1.0, draw=1.0) for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert [rest(n, 1.0, draw=0.0) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert rest(1, 1.0, draw=0.0, retry_after=7) == 7
    assert rest(5, 1.0, draw=1.0, retry_after=7) == 16
    assert rest(10_000, 1.0, draw=0.5) == rest(1, 1.0, draw=0.5, retry_after=1e9) == 60


@pytest.mark.parametrize(
    "bad",
    [
        Answer(b"out of memory", status=500),
        Answer(b"restarting", status=502),
        Answer(b"busy", status=503, headers={"Retry-After": "0"}),
        Answer(b"too many", status=429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        Answer(b"<html>"),
        Answer(b"7" * 1000, cut_at=10),
        Answer(hang_up=True),
    ],
    ids=lambda bad: f"{bad.status}-{bad.body[:10]!r}" if bad.body else "hang-up",
)
def test_what_may_pass_is_asked_again(bad: Answer) -> None:
    with answering(first_then_7(bad)) as server:
        assert ask(server.url) == 7
    assert [asked.body for asked in server.asked] == [b"?"] * 3
    assert all(asked.headers["X"] == "y" and asked.headers["Content-Type"] == "text/plain" for asked in server.asked)


def test_a_slow_server_is_asked_again() -> None:
    with answering(first_then_7(Answer(b"8", delay=0.2), times=1)) as server:
        assert ask(server.url, timeout=0.1) == 7


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413])
def test_what_the_server_says_is_wrong_is_not_asked_again(status: int) -> None:
    with (
        answering(lambda _: Answer(b"no such prompt", status=status, headers={"Location": "/elsewhere"})) as server,
        pytest.raises(Refused, match=f"{server.url} refused the request: status {status}: no such prompt"),
    ):
        ask(server.url)
    assert len(server.asked) == 1


def test_an_end_says_where_how_often_and_what_to_do() -> None:
    url = address_where_nothing_listens()
    with pytest.raises(AllDown) as error:
        ask(url, retries=2)
    assert re.match(rf"no usable answer in 3 attempts over 0\.\d s; the last: {url}: .*refused", str(error.value))
    assert str(error.value).endswith(". Start it.")


def test_the_server_says_when_to_come_back(caplog: pytest.LogCaptureFixture) -> None:
    with answering(lambda _: Answer(status=503, headers={"Retry-After": "7"})) as server, pytest.raises(AllDown):
        ask(server.url, retries=0)
    assert caplog.messages == [f"{server.url}: status 503: ; left alone for 7.0 s"]


def test_several_are_asked_in_turn_and_one_that_fails_is_left_alone() -> None:
    with ExitStack() as stack:
        good = [stack.enter_context(answering(lambda _: Answer(b"7"))) for _ in range(2)]
        broken = stack.enter_context(answering(lambda _: Answer(status=500)))
        several = endpoints(good[0].url, broken.url, good[1].url, backoff=60)
        assert [several.ask(b"?", "text/plain", number) for _ in range(20)] == [7] * 20
    assert [len(server.asked) for server in good] == [10, 10]
    assert len(broken.asked) == 1


def test_one_that_recovers_is_asked_again() -> None:
    with answering(first_then_7(Answer(status=500), times=1)) as flapping, answering(lambda _: Answer(b"7")) as good:
        several = endpoints(flapping.url, good.url, backoff=0.001)
        assert [several.ask(b"?", "text/plain", number) for _ in range(20)] == [7] * 20
    assert len(flapping.asked) >= 5


def test_failures_of_requests_that_were_under_way_together_count_once(caplog: pytest.LogCaptureFixture) -> None:
    """Else 8 threads that meet one hiccup would send a server to rest for 2^7 times as long."""
    together = threading.Barrier(8)

    def hiccup(asked: Asked) -> Answer:
        if asked.number < 8:
            together.wait(5)
            return Answer(status=500)
        return Answer(b"7")

    with answering(hiccup) as server, ThreadPoolExecutor(8) as pool:
        one = endpoints(server.url, backoff=0.05)
        assert [*pool.map(lambda _: one.ask(b"?", "text/plain", number), range(8))] == [7] * 8
    assert len(server.asked) == 16
    assert len(caplog.messages) == 1


def test_what_others_met_does_not_make_a_call_wait_longer() -> None:
    """The endpoint rests for a minute after this many failures; a new call asks it soon all the same."""
    with answering(first_then_7(Answer(status=500), times=24)) as server:
        one = endpoints(server.url, retries=0)
        for _ in range(24):
            with pytest.raises(AllDown):
                one.ask(b"?", "text/plain", number)
        assert one.ask(b"?", "text/plain", number) == 7


def test_connections_are_kept() -> None:
    with answering(lambda _: Answer(b"7")) as server:
        one = endpoints(server.url)
        for _ in range(5):
            one.ask(b"?", "text/plain", number)
    assert len({asked.client for asked in server.asked}) == 1


@pytest.mark.parametrize("url", ["localhost:8300", "ftp://somewhere", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is no address of a server: write it as"):
        endpoints(url)


def test_at_least_one_is_needed() -> None:
    with pytest.raises(ValueError, match="must name at least one server"):
        endpoints()
