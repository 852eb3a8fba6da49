"""HTTP requests to servers that may fail. Requests go to the servers in rotation, and a server that fails is skipped
with exponential back-off.

The back-off grows with every consecutive failure. If there are several servers, a failed request goes to another one at
once and waits only if all of them are backing off. With a single server this is ordinary exponential back-off.
"""

import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import urllib3
from pydantic import AfterValidator
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from . import proxies

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_BACKOFF = 60.0  # seconds; also limits the server's Retry-After
_CONNECT_TIMEOUT = 10.0  # seconds
_CHECK_TIMEOUT = 5.0  # seconds
_TIMED_OUT, _TOO_MANY_REQUESTS = 408, 429  # unlike other 4xx, these may pass
_UNAUTHORIZED = (401, 403)
_NOBODY_THERE = (502, 503, 504)  # a gateway, or a server that is still loading
_UNSENDABLE = re.compile(r"[\s\x00-\x1f]")
_MAX_ERROR_CHARACTERS = 300  # of an error response, in messages


class BadResponse(RuntimeError):
    """No response, or an unusable one. A retry may succeed."""

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class RequestRefused(RuntimeError):
    """The server reports that the request itself is wrong. A retry cannot help."""

    def __init__(self, url: str, status: int, why: str) -> None:
        super().__init__(f"{url} refused the request: {why}")
        self.status = status


def check_url(url: str) -> str:
    """The url, if it is a server's address. A password in it would end in recipes and logs, so it is not even shown."""
    if "@" in url:
        raise ValueError("an address must not contain a user or a password: give a token's environment variable")
    if "?" in url or "#" in url:  # paths are added to its end; and a key may stand there
        raise ValueError("an address must not contain a query or a fragment: leave out what begins at ? or #")
    try:
        scheme, _, host, port, *_ = parse_url(url)
    except HTTPError:
        scheme = host = port = None
    if scheme not in ("http", "https") or not host or port == 0 or _UNSENDABLE.search(url):
        raise ValueError(f"{url!r} is not a server's address: write it like http://127.0.0.1:8300")
    return url


Url = Annotated[str, AfterValidator(check_url)]


class AllServersFailed(ConnectionError):
    """No server gave a usable response, even after all retries."""


def backoff_seconds(failures: int, first: float, jitter: float, retry_after: float = 0.0) -> float:
    """Seconds to skip a server after this many consecutive failures: `first`, doubled with each further failure. The
    jitter in [0, 1] picks a point between half of that and all of it, so that clients do not return in lockstep. Never
    less than `retry_after`, and at most one minute.
    """
    backed_off: float = first * 2 ** min(failures - 1, 30) * (1 + jitter) / 2
    return min(_MAX_BACKOFF, max(backed_off, retry_after))


@dataclass
class _Endpoint:
    url: str
    pool: urllib3.PoolManager
    failures: int = 0
    """Consecutive failures."""
    failed_at: float = 0.0
    retry_at: float = 0.0


class Endpoints:
    """Sends requests to one of several equivalent servers. Thread-safe."""

    def __init__(
        self,
        urls: Sequence[str],
        path: str,
        *,
        headers: Mapping[str, str],
        timeout: float,
        retries: int,
        backoff: float,
        connections: int,
        hint: str,
    ) -> None:
        """`path`: where requests go, below each url. `hint`: advice for the user when all servers have failed."""
        if not urls:
            raise ValueError("urls: must name at least one server")
        self._urls = [check_url(url).rstrip("/") for url in urls]
        self._token = headers.get("Authorization", "").removeprefix("Bearer ")
        self._headers, self._retries, self._backoff, self._hint = dict(headers), retries, backoff, hint
        # urllib3 must neither retry nor redirect: this class retries, and any status but 200 is an error.
        self._pools = [
            proxies.connections(
                url,
                maxsize=connections,
                retries=False,
                timeout=urllib3.Timeout(connect=min(_CONNECT_TIMEOUT, timeout), read=timeout),
            )
            for url in self._urls
        ]
        self._endpoints = [_Endpoint(url + path, pool) for url, pool in zip(self._urls, self._pools, strict=True)]
        self._lock = threading.Lock()

    def check(self, path: str) -> None:
        """Asks each server for `path`, below its url. Raises an error if none is there, or if one refuses the token.
        A server that cannot answer this one question is there.
        """
        failures = []
        for url, pool in zip(self._urls, self._pools, strict=True):
            try:
                # On a connection of its own: a server may close it after an error, when the next request is on its way.
                headers = {**self._headers, "Connection": "close"}
                response = pool.request("GET", url + path, headers=headers, timeout=_CHECK_TIMEOUT)
            except HTTPError as error:
                failures.append(f"{url}: {error}")
                continue
            if response.status in _UNAUTHORIZED:
                raise RequestRefused(url + path, response.status, self._why(response))
            if response.status in _NOBODY_THERE:
                failures.append(f"{url}: {self._why(response)}")
            elif response.status >= 500:  # `transformers serve` fails to list models, yet serves those in a folder
                _log.warning("%s: %s", url + path, self._why(response))
        for why in failures:
            _log.warning("%s", why)
        if len(failures) == len(self._urls):
            raise AllServersFailed(f"no server answers: {failures[-1]}. {self._hint}")

    def request(self, body: bytes, content_type: str, parse: Callable[[bytes], T]) -> T:
        """The response, parsed. A ValueError from `parse` counts as a failure of the server and is retried."""
        begin, attempts = time.monotonic(), (1 + self._retries) * len(self._endpoints)
        why, retry_after = "", 0.0
        for attempt in range(attempts):
            max_wait = backoff_seconds(attempt // len(self._endpoints), self._backoff, random.random(), retry_after)
            endpoint = self._next_endpoint(max_wait)
            sent_at = time.monotonic()
            try:
                response = self._post(endpoint, body, content_type, parse)
            except BadResponse as failure:
                why = f"{endpoint.url}: {failure}"
                retry_after = failure.retry_after
                self._record_failure(endpoint, sent_at, why, retry_after)
            else:
                endpoint.failures = 0
                return response
        seconds = time.monotonic() - begin
        raise AllServersFailed(
            f"no usable response in {attempts} attempts over {seconds:.1f} s; the last error: {why}. {self._hint}"
        )

    def _next_endpoint(self, max_wait: float) -> _Endpoint:
        """The least recently used server that is not backing off. If all are, the one that may be retried first, after
        waiting for it, but no longer than `max_wait`. The wait of a request thus depends on its own failures and not on
        those of earlier requests.
        """
        with self._lock:
            now = time.monotonic()
            endpoint = min(self._endpoints, key=lambda e: max(now, e.retry_at))
            self._endpoints.remove(endpoint)
            self._endpoints.append(endpoint)
        time.sleep(min(max_wait, max(0.0, endpoint.retry_at - now)))
        return endpoint

    def _record_failure(self, endpoint: _Endpoint, sent_at: float, why: str, retry_after: float) -> None:
        with self._lock:
            if sent_at < endpoint.failed_at:
                return  # sent before the last failure was known: concurrent failures count once
            endpoint.failures += 1
            endpoint.failed_at = time.monotonic()
            seconds = backoff_seconds(endpoint.failures, self._backoff, random.random(), retry_after)
            endpoint.retry_at = endpoint.failed_at + seconds
        _log.warning("%s; backing off for %.1f s", why, seconds)

    def _post(self, endpoint: _Endpoint, body: bytes, content_type: str, parse: Callable[[bytes], T]) -> T:
        headers = {**self._headers, "Content-Type": content_type}
        try:
            # Said again here: urllib3 2.2 redirects nevertheless.
            response = endpoint.pool.request("POST", endpoint.url, body=body, headers=headers, redirect=False)
        except HTTPError as error:
            raise BadResponse(str(error)) from error
        if response.status == 200:
            try:
                return parse(response.data)
            except ValueError as error:
                raise BadResponse(self._without_token(str(error))) from error
        if response.status in (_TIMED_OUT, _TOO_MANY_REQUESTS) or response.status >= 500:
            raise BadResponse(self._why(response), _seconds(response.headers.get("Retry-After", "")))
        raise RequestRefused(endpoint.url, response.status, self._why(response))

    def _why(self, response: urllib3.BaseHTTPResponse) -> str:
        text = self._without_token(response.data.decode(errors="replace"))
        return f"status {response.status}: {text[:_MAX_ERROR_CHARACTERS]}"

    def _without_token(self, text: str) -> str:
        """Some servers quote the token that they were sent, and errors end in logs."""
        return text.replace(self._token, "***") if self._token else text


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else 0.0  # the header may also be a date, which is ignored
