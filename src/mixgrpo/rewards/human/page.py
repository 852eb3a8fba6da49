"""The page on which a person votes: served on loopback alone, under a name that nobody can guess."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import BoundedSemaphore, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .ballot import Ballot
from .questions import Mode

_HOST = "127.0.0.1"
_LONGEST_BODY = 4096
_POLL_SECONDS = 20.0
_REQUESTS_AT_A_TIME = 32
_ANSWERS = {"good-bad": (1.0, 0.0, None), "pairs": (1.0, 0.0, 0.5, None)}


@contextmanager
def served(ballot: Ballot, mode: Mode, port: int) -> Iterator[str]:
    """Yields the address. `port` 0: any that is free."""
    token = secrets.token_urlsafe(12)
    room = BoundedSemaphore(_REQUESTS_AT_A_TIME)

    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # seconds in which a request must arrive

        def do_GET(self) -> None:
            self._with_room(self._get)

        def do_POST(self) -> None:
            self._with_room(self._post)

        def _with_room(self, answer: Any) -> None:
            url = urlsplit(self.path)
            _, given, *rest = [*url.path.split("/"), ""]
            if not secrets.compare_digest(given.encode(), token.encode()):
                self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")
            elif not room.acquire(blocking=False):
                self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"", "text/plain")
            else:
                try:
                    answer(rest[:-1], parse_qs(url.query))
                finally:
                    room.release()

        def _get(self, path: list[str], query: dict[str, list[str]]) -> None:
            match path:
                case [""]:
                    page = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
                    self._send(HTTPStatus.OK, page.replace("MODE", mode).encode(), "text/html; charset=utf-8")
                case ["state"]:
                    seen = query.get("seen", ["-1"])[0]
                    ballot.wait_for_change(int(seen) if seen.isdecimal() else -1, _POLL_SECONDS)
                    self._send_json(_state(ballot))
                case ["image", name] if (image := ballot.image(name)) is not None:
                    self._send(HTTPStatus.OK, image, "image/png")
                case _:
                    self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

        def _post(self, path: list[str], query: dict[str, list[str]]) -> None:
            given = self._body()
            match path, given:
                case ["vote"], {"question": str(name), "answer": answer} if answer in _ANSWERS[mode]:
                    self._send_json({"counted": ballot.vote(name, answer)})
                case ["undo"], {}:
                    self._send_json({"undone": ballot.undo()})
                case _:
                    self._send(HTTPStatus.BAD_REQUEST, b"", "text/plain")

        def _body(self) -> Any:
            """None if it is too long or no JSON."""
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > _LONGEST_BODY:
                return None
            try:
                return json.loads(self.rfile.read(int(length)))
            except ValueError:
                return None

        def _send_json(self, data: dict[str, Any]) -> None:
            self._send(HTTPStatus.OK, json.dumps(data).encode(), "application/json")

        def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the terminal is the run's."""

    try:
        server = ThreadingHTTPServer((_HOST, port), Handler)
    except OSError as error:
        raise OSError(f"rewards.human.port = {port}: {error.strerror}; name another one, or 0 for any") from None
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="voting page", daemon=True).start()
    try:
        yield f"http://{_HOST}:{server.server_address[1]}/{token}/"
    finally:
        server.shutdown()
        server.server_close()


def _state(ballot: Ballot) -> dict[str, Any]:
    version = ballot.version
    waiting, answered = ballot.waiting()
    shown = [{"name": q.name, "prompt": q.prompt, "images": [f"image/{image}" for image in q.images]} for q in waiting]
    return {"version": version, "open": len(waiting), "answered": answered, "questions": shown[:2]}
