"""Requests to failing servers: which errors are retried, on which server, and when the client gives up."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from mixgrpo.bench.local_servers import Answer, Request, address_where_nothing_listens, local_server
from mixgrpo.rewards.clients.endpoints import AllServersFailed, Endpoints, RequestRefused, backoff_seconds


def endpoints(*urls: str, retries: int = 3, timeout: float = 5.0, backoff: float = 0.01) -> Endpoints:
    return Endpoints(
        urls, "", headers={"X": "y"}, timeout=timeout, retries=retries, backoff=backoff, connections=8, hint="Start it."
    )


def number(body: bytes) -> int:
    return int(body)


def send(*urls: str, retries: int = 3, timeout: float = 5.0) -> int:
    return endpoints(*urls, retries=retries, timeout=timeout).request(b"?", "text/plain", number)


def first_then_7(bad: Answer, times: int = 2) -> Callable[[Request], Answer]:
    return lambda request: bad if request.number < times else Answer(b"7")


def test_the_back_off_doubles_has_jitter_and_respects_retry_after() -> None:
    assert [backoff_seconds(n, 1.0, jitter=1.0) for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert [backoff_seconds(n, 1.0, jitter=0.0) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert backoff_seconds(1, 1.0, jitter=0.0, retry_after=7) == 7
    assert backoff_seconds(5, 1.0, jitter=1.0, retry_after=7) == 16
    assert backoff_seconds(10_000, 1.0, jitter=0.5) == backoff_seconds(1, 1.0, jitter=0.5, retry_after=1e9) == 60


@pytest.mark.parametrize(
    "bad",
    [
        Answer(b"out of memory", status=500),
        Answer(b"restarting", status=502),
        Answer(b"busy", status=503, headers={"Retry-After": "0"}),
        Answer(b"too many", status=429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        Answer(b"too slow", status=408),
        Answer(b"<html>"),
        Answer(b"7" * 1000, cut_at=10),
        Answer(hang_up=True),
    ],
    ids=lambda bad: f"{bad.status}-{bad.body[:10]!r}" if bad.body else "hang-up",
)
def test_temporary_failures_are_retried(bad: Answer) -> None:
    with local_server(first_then_7(bad)) as server:
        assert send(server.url) == 7
    assert [request.body for request in server.requests] == [b"?"] * 3
    assert all(
        request.headers["X"] == "y" and request.headers["Content-Type"] == "text/plain" for request in server.requests
    )


def test_a_timeout_is_retried() -> None:
    with local_server(first_then_7(Answer(b"8", delay=0.2), times=1)) as server:
        assert send(server.url, timeout=0.1) == 7


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413])
def test_a_refused_request_is_not_retried(status: int) -> None:
    with (
        local_server(lambda _: Answer(b"no such prompt", status=status, headers={"Location": "/elsewhere"})) as server,
        pytest.raises(RequestRefused, match=f"{server.url} refused the request: status {status}: no such prompt"),
    ):
        send(server.url)
    assert len(server.requests) == 1


def test_the_final_error_names_the_server_the_attempts_and_a_remedy() -> None:
    url = address_where_nothing_listens()
    with pytest.raises(AllServersFailed) as error:
        send(url, retries=2)
    assert re.match(
        rf"no usable response in 3 attempts over 0\.\d s; the last error: {url}: .*refused", str(error.value)
    )
    assert str(error.value).endswith(". Start it.")


def test_retry_after_sets_the_back_off(caplog: pytest.LogCaptureFixture) -> None:
    with (
        local_server(lambda _: Answer(status=503, headers={"Retry-After": "7"})) as server,
        pytest.raises(AllServersFailed),
    ):
        send(server.url, retries=0)
    assert caplog.messages == [f"{server.url}: status 503: ; backing off for 7.0 s"]


def test_requests_rotate_and_skip_a_failing_server() -> None:
    with ExitStack() as stack:
        good = [stack.enter_context(local_server(lambda _: Answer(b"7"))) for _ in range(2)]
        broken = stack.enter_context(local_server(lambda _: Answer(status=500)))
        several = endpoints(good[0].url, broken.url, good[1].url, backoff=60)
        assert [several.request(b"?", "text/plain", number) for _ in range(20)] == [7] * 20
    assert [len(server.requests) for server in good] == [10, 10]
    assert len(broken.requests) == 1


def test_a_server_that_recovers_is_used_again() -> None:
    with (
        local_server(first_then_7(Answer(status=500), times=1)) as flapping,
        local_server(lambda _: Answer(b"7")) as good,
    ):
        several = endpoints(flapping.url, good.url, backoff=0.001)
        assert [several.request(b"?", "text/plain", number) for _ in range(20)] == [7] * 20
    assert len(flapping.requests) >= 5


def test_concurrent_failures_count_once(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a single hiccup seen by 8 threads would make the back-off 2^7 times as long."""
    barrier = threading.Barrier(8)

    def hiccup(request: Request) -> Answer:
        if request.number < 8:
            barrier.wait(5)
            return Answer(status=500)
        return Answer(b"7")

    with local_server(hiccup) as server, ThreadPoolExecutor(8) as pool:
        one = endpoints(server.url, backoff=0.05)
        assert [*pool.map(lambda _: one.request(b"?", "text/plain", number), range(8))] == [7] * 8
    assert len(server.requests) == 16
    assert len(caplog.messages) == 1


def test_failures_of_earlier_requests_do_not_delay_a_new_one() -> None:
    """After this many failures the server's back-off is a minute, but a new request is sent soon nevertheless."""
    with local_server(first_then_7(Answer(status=500), times=24)) as server:
        one = endpoints(server.url, retries=0)
        for _ in range(24):
            with pytest.raises(AllServersFailed):
                one.request(b"?", "text/plain", number)
        assert one.request(b"?", "text/plain", number) == 7


def test_connections_are_reused() -> None:
    with local_server(lambda _: Answer(b"7")) as server:
        one = endpoints(server.url)
        for _ in range(5):
            one.request(b"?", "text/plain", number)
    assert len({request.client for request in server.requests}) == 1


@pytest.mark.parametrize("url", ["http://user:s3cret@127.0.0.1:8300", "http://user:s3cret@[::1"])
def test_a_password_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="must not contain a user or a password") as error:
        endpoints(url)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("url", ["https://a/v1?key=s3cret", "https://a/v1#s3cret"])
def test_a_key_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="must not contain a query or a fragment") as error:
        endpoints(url)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("status", [200, 401, 500])
def test_a_server_that_quotes_the_token_does_not_bring_it_into_errors(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def quoting(request: Request) -> Answer:
        return Answer(f"{'x' * 295} {request.headers['Authorization']} is wrong".encode(), status=status)

    def parse(body: bytes) -> int:
        raise ValueError(body.decode())

    with local_server(quoting) as server, pytest.raises((AllServersFailed, RequestRefused)) as error:
        Endpoints(
            [server.url],
            "",
            headers={"Authorization": "Bearer s3cret"},
            timeout=5,
            retries=0,
            backoff=0.01,
            connections=1,
            hint="",
        ).request(b"?", "text/plain", parse)
    assert "xxx Be" in str(error.value)
    assert "s3" not in str(error.value) + caplog.text


def test_more_servers_than_urllib3_keeps_connections_to_by_itself() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(local_server(lambda _: Answer(b"7"))) for _ in range(12)]
        many = endpoints(*[server.url for server in servers])
        assert [many.request(b"?", "text/plain", number) for _ in range(36)] == [7] * 36
    assert [len({request.client for request in server.requests}) for server in servers] == [1] * 12


def test_a_check_passes_if_one_server_answers(caplog: pytest.LogCaptureFixture) -> None:
    down = address_where_nothing_listens()
    with local_server(lambda _: Answer(status=404)) as server:
        endpoints(down, server.url).check("/version")
    assert [request.path for request in server.requests] == ["/version"]
    assert down in caplog.messages[0]


def test_a_check_fails_at_once_if_no_server_answers() -> None:
    with (
        local_server(lambda _: Answer(b"loading", status=503)) as server,
        pytest.raises(AllServersFailed, match=r"no server answers: .*status 503: loading. Start it."),
    ):
        endpoints(server.url).check("/version")
    with pytest.raises(AllServersFailed, match=r"no server answers: http.*refused.*Start it."):
        endpoints(address_where_nothing_listens()).check("/version")


def test_a_check_passes_where_a_server_fails_to_answer_this_question(caplog: pytest.LogCaptureFixture) -> None:
    """Its connection is not used again: such a server may close it, and the next request would be lost."""
    with local_server(lambda _: Answer(b"?", status=500)) as server:
        endpoints(server.url).check("/models")
    assert caplog.messages == [f"{server.url}/models: status 500: ?"]
    assert server.requests[0].headers["Connection"] == "close"


def test_a_check_fails_if_the_token_is_wrong() -> None:
    with (
        local_server(lambda _: Answer(b"the token is wrong", status=401)) as server,
        pytest.raises(RequestRefused, match="/version refused the request: status 401: the token is wrong"),
    ):
        endpoints(server.url).check("/version")


@pytest.mark.parametrize(
    "url", ["localhost:8300", "ftp://somewhere", "http://", "http://[::1", "http://a:99999", "http://a:0", "http://a b"]
)
def test_an_invalid_address_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="is not a server's address: write it like"):
        endpoints(url)


def test_at_least_one_server_is_required() -> None:
    with pytest.raises(ValueError, match="must name at least one server"):
        endpoints()
