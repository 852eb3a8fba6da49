"""Asking servers that fail now and then: one after the other in rotation, those that failed resting for a while.

A rest grows with every failure in a row. With several servers a call goes to another one at once, and waits only
where all of them rest; with a single one that is the usual exponential back-off.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

_log = logging.getLogger(__name__)

T = TypeVar("T")

_LONGEST_REST = 60.0  # seconds, asked for by the server or reckoned
_CONNECT = 10.0  # seconds to reach a server
_TOO_MANY = 429
_SHOWN = 300  # bytes of an answer that is an error


class Unusable(RuntimeError):
    """No answer, or one that is no use, this time."""

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class Refused(RuntimeError):
    """The server understood, and says that the request is wrong. Asking again is of no use."""

    def __init__(self, url: str, status: int, why: str) -> None:
        super().__init__(f"{url} refused the request: {why}")
        self.status = status


class AllDown(ConnectionError):
    """No server gave a usable answer, however often it was asked."""


def rest(failures: int, first: float, draw: float, retry_after: float = 0.0) -> float:
    """Seconds to leave a server alone after so many failures in a row: `first`, doubled each time, between half
    and all of it as drawn from [0, 1], so that clients do not come back all at once; and never less than the
    server asked for.
    """
    backed_off: float = first * 2 ** min(failures - 1, 30) * (1 + draw) / 2
    return min(_LONGEST_REST, max(backed_off, retry_after))


@dataclass
class _Endpoint:
    url: str
    failures: int = 0
    """In a row."""
    failed_at: float = 0.0
    rests_until: float = 0.0


class Endpoints:
    """May be called from several threads at a time."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        headers: Mapping[str, str],
        timeout: float,
        retries: int,
        backoff: float,
        connections: int,
        hint: str,
    ) -> None:
        """`hint` tells the user what to do where all are down."""
        if not urls:
            raise ValueError("urls: must name at least one server")
        for url in urls:
            _check(url)
        self._endpoints = [_Endpoint(url) for url in urls]
        self._headers, self._retries, self._backoff, self._hint = dict(headers), retries, backoff, hint
        # Retries are ours; and so is every answer that is not 200, redirections included.
        self._pool = urllib3.PoolManager(
            maxsize=connections, retries=False, timeout=urllib3.Timeout(connect=min(_CONNECT, timeout), read=timeout)
        )
        self._lock = threading.Lock()

    def ask(self, body: bytes, content_type: str, read: Callable[[bytes], T]) -> T:
        """The answer as `read` understands it; a ValueError from it says that the server does not work."""
        begin, attempts = time.monotonic(), (1 + self._retries) * len(self._endpoints)
        why, asked_for = "", 0.0
        for attempt in range(attempts):
            patience = rest(attempt // len(self._endpoints), self._backoff, random.random(), asked_for)
            endpoint = self._next(patience)
            asked_at = time.monotonic()
            try:
                answer = read(self._post(endpoint.url, body, content_type))
            except (Unusable, ValueError) as failure:
                why = f"{endpoint.url}: {failure}"
                asked_for = failure.retry_after if isinstance(failure, Unusable) else 0.0
                self._failed(endpoint, asked_at, why, asked_for)
            else:
                endpoint.failures = 0
                return answer
        seconds = time.monotonic() - begin
        raise AllDown(f"no usable answer in {attempts} attempts over {seconds:.1f} s; the last: {why}. {self._hint}")

    def _next(self, patience: float) -> _Endpoint:
        """The one that has waited longest of those that do not rest; else the first that will have rested, or will
        have to do: how long a call waits follows from its own failures, not from what others met before it.
        """
        with self._lock:
            now = time.monotonic()
            endpoint = min(self._endpoints, key=lambda e: max(now, e.rests_until))
            self._endpoints.remove(endpoint)
            self._endpoints.append(endpoint)
        time.sleep(min(patience, max(0.0, endpoint.rests_until - now)))
        return endpoint

    def _failed(self, endpoint: _Endpoint, asked_at: float, why: str, asked_for: float) -> None:
        with self._lock:
            if asked_at < endpoint.failed_at:
                return  # one of several that were under way when it failed: no news
            endpoint.failures += 1
            endpoint.failed_at = time.monotonic()
            seconds = rest(endpoint.failures, self._backoff, random.random(), asked_for)
            endpoint.rests_until = endpoint.failed_at + seconds
        _log.warning("%s; left alone for %.1f s", why, seconds)

    def _post(self, url: str, body: bytes, content_type: str) -> bytes:
        headers = {**self._headers, "Content-Type": content_type}
        try:
            response = self._pool.request("POST", url, body=body, headers=headers)
        except HTTPError as error:
            raise Unusable(str(error)) from error
        if response.status == 200:
            return response.data
        why = f"status {response.status}: {response.data[:_SHOWN].decode(errors='replace')}"
        if response.status == _TOO_MANY or response.status >= 500:
            raise Unusable(why, _seconds(response.headers.get("Retry-After", "")))
        raise Refused(url, response.status, why)


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else 0.0  # a date, which the header may also be: we back off


def _check(url: str) -> None:
    try:
        parts = parse_url(url)
    except HTTPError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"{url!r} is no address of a server: write it as http://127.0.0.1:8300")
