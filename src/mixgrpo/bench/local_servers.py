"""Servers on loopback: one that returns given answers, and a reward server in a process of its own."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before the first byte."""
    cut_at: int | None = None
    """Close the connection after so many bytes of the body."""
    hang_up: bool = False
    """Close the connection without an answer."""


@dataclass
class Request:
    number: int
    """From 0, in order of arrival."""
    path: str
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]
    """Its address: the same for requests on one connection."""


@dataclass
class LocalServer:
    url: str
    requests: list[Request] = field(default_factory=list)


@contextmanager
def local_server(answer: Callable[[Request], Answer]) -> Iterator[LocalServer]:
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            with lock:
                request = Request(len(server.requests), self.path, dict(self.headers), body, self.client_address)
                server.requests.append(request)
            given = answer(request)
            time.sleep(given.delay)
            if given.hang_up:
                self.close_connection = True
                return
            self.send_response(given.status)
            for name, value in {"Content-Length": str(len(given.body)), **given.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(given.body[: given.cut_at])
            self.close_connection = self.close_connection or given.cut_at is not None

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client did not wait
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server = LocalServer(f"http://127.0.0.1:{http.server_address[1]}")
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()


def address_where_nothing_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def as_json(value: Any, **options: Any) -> Answer:
    return Answer(json.dumps(value).encode(), **options)


@contextmanager
def reward_server(
    reward: str, *arguments: str, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`mixgrpo serve-reward` in a process of its own: its url, and the process."""
    command = [str(Path(sys.executable).with_name("mixgrpo")), "serve-reward", reward, "--port", "0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            if found is None:
                assert process.stderr is not None
                raise ChildProcessError(f"{' '.join(command)}: {process.stderr.read()}")
            yield found[0], process
        finally:
            process.terminate()
