"""A small web page of this machine: served on loopback alone, under a name that nobody can guess, with few requests at
a time, each of them small and in time.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

_HOST = "127.0.0.1"
_LONGEST_BODY = 4096
_REQUESTS_AT_A_TIME = 32
_SECONDS_TO_ARRIVE = 30


@dataclass(frozen=True)
class Answer:
    body: bytes
    kind: str

    @staticmethod
    def of_json(data: Any) -> "Answer":
        return Answer(json.dumps(data, allow_nan=False).encode(), "application/json")

    @staticmethod
    def of_page(text: str) -> "Answer":
        return Answer(text.encode(), "text/html; charset=utf-8")


Get = Callable[[str, dict[str, str]], Answer | None]
"""Of a path below the page's own and its query; None where there is nothing."""
Post = Callable[[str, Any], Answer | None]
"""Of a path and the JSON that was sent; None where it is refused."""


@contextmanager
def served(name: str, port: int, get: Get, post: Post) -> Iterator[str]:
    """Yields the address. `name`: of the setting that the port is, for errors. `port` 0: any that is free."""
    token = secrets.token_urlsafe(12)
    room = BoundedSemaphore(_REQUESTS_AT_A_TIME)

    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS_TO_ARRIVE

        def do_GET(self) -> None:
            self._with_room(
                lambda path, query: get(path, {key: values[0] for key, values in parse_qs(query).items()}),
                HTTPStatus.NOT_FOUND,
            )

        def do_POST(self) -> None:
            self._with_room(lambda path, _: post(path, self._body()), HTTPStatus.BAD_REQUEST)

        def _with_room(self, answer: Callable[[str, str], Answer | None], otherwise: HTTPStatus) -> None:
            url = urlsplit(self.path)
            given, _, path = url.path.removeprefix("/").partition("/")
            if not secrets.compare_digest(given.encode(), token.encode()):
                self._send(HTTPStatus.NOT_FOUND)
            elif not room.acquire(blocking=False):
                self._send(HTTPStatus.SERVICE_UNAVAILABLE)
            else:
                try:
                    found = answer(path, url.query)
                finally:
                    room.release()
                self._send(otherwise) if found is None else self._send(HTTPStatus.OK, found)

        def _body(self) -> Any:
            """None if it is too long or no JSON."""
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _LONGEST_BODY:
                return None
            try:
                return json.loads(self.rfile.read(int(length)))
            except ValueError:
                return None

        def _send(self, status: HTTPStatus, answer: Answer | None = None) -> None:
            answer = answer or Answer(b"", "text/plain")
            self.send_response(status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the terminal is the run's."""

    try:
        server = ThreadingHTTPServer((_HOST, port), Handler)
    except OSError as error:
        raise OSError(f"{name} = {port}: {error.strerror}; name another one, or 0 for any") from None
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="page", daemon=True).start()
    try:
        yield f"http://{_HOST}:{server.server_address[1]}/{token}/"
    finally:
        server.shutdown()
        server.server_close()
