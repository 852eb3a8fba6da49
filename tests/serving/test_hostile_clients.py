"""Clients that send slowly, too much or nothing, and a server that must serve the others and end when it is told to."""

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from PIL import Image

from messages import message
from mixgrpo.bench.local_servers import reward_server

READ_TIMEOUT = 0.5
HEADER = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
SLOW = "import time\ndef score(images, prompts):\n    time.sleep(100)\n"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    with reward_server(
        "jpeg-compressibility", "--read-timeout", str(READ_TIMEOUT), "--max-requests", "2", "--max-memory", "128"
    ) as started:
        yield started


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    return socket.create_connection((address.hostname, address.port), timeout=5)


def post(url: str, body: bytes) -> urllib3.BaseHTTPResponse:
    headers = {"Content-Type": "application/json"}
    return urllib3.request("POST", f"{url}/v1/score", body=body, headers=headers, retries=False, timeout=30)


def until_closed(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(1000):
        answer += chunk
    return answer


@pytest.mark.parametrize("begin", [b"", b"POST /v1/sc", HEADER[:60]])
def test_a_header_that_does_not_arrive_is_not_waited_for(server: tuple[str, object], begin: bytes) -> None:
    with connect(server[0]) as connection:
        connection.sendall(begin)
        assert until_closed(connection) == b""


def test_a_header_that_trickles_has_no_more_time(server: tuple[str, object]) -> None:
    begin = time.monotonic()
    with connect(server[0]) as connection, suppress(ConnectionError):
        for byte in HEADER:
            connection.sendall(bytes([byte]))
            time.sleep(READ_TIMEOUT / 10)
    assert time.monotonic() - begin < 0.5 * len(HEADER) * READ_TIMEOUT / 10


def test_a_body_shorter_than_announced_is_answered_after_the_timeout(server: tuple[str, object]) -> None:
    with connect(server[0]) as connection:
        connection.sendall(HEADER % 1000 + b"{")
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the request did not arrive within 0.5 s" in answer


def test_a_kept_connection_has_the_timeout_again_for_each_request(server: tuple[str, object]) -> None:
    with closing(HTTPConnection(urlsplit(server[0]).netloc, timeout=5)) as connection:
        for _ in range(3):
            connection.request("POST", "/v1/score", message(), {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert (response.status, len(json.loads(response.read())["scores"])) == (200, 1)
            time.sleep(0.4 * READ_TIMEOUT)
        connection.sock.sendall(HEADER[:20])
        assert until_closed(connection.sock) == b""


def test_slow_clients_keep_nobody_out(server: tuple[str, object]) -> None:
    slow = [connect(server[0]) for _ in range(20)]
    for connection in slow:
        connection.sendall(HEADER % 1000 + b"{")
    begin = time.monotonic()
    assert [post(server[0], message()).status for _ in range(5)] == [200] * 5
    assert time.monotonic() - begin < READ_TIMEOUT  # while all of them are connected
    for connection in slow:
        connection.close()


def test_slow_clients_do_not_keep_the_server_from_ending() -> None:
    with (
        reward_server("jpeg-compressibility") as (url, process),
        connect(url) as silent,
        connect(url) as header,
        connect(url) as body,
    ):
        header.sendall(HEADER[:30])
        body.sendall(HEADER % 1000 + b"{")
        assert post(url, message()).status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert until_closed(silent) == b""


def one_bit(side: int) -> str:
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak memory")
def test_memory_is_bounded_by_the_total_not_by_the_number_of_requests(
    server: tuple[str, "subprocess.Popen[str]"],
) -> None:
    """Each request is of a few kB, and of 4 megapixels when it is decoded."""
    url, process = server
    body = json.dumps({"images": [one_bit(2000)], "prompts": ["a"]}).encode()
    assert len(body) < 3000
    before = peak_memory(process.pid)
    with ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda _: post(url, body), range(64))]
    assert {answer.status for answer in answers} == {200, 503}
    assert {answer.headers["Retry-After"] for answer in answers if answer.status == 503} == {"1"}
    assert peak_memory(process.pid) - before < 200 * 2**20
    metrics = json.loads(urllib3.request("GET", f"{url}/metrics").data)
    assert metrics["memory_bytes"] == metrics["open_requests"] == 0


def test_what_cannot_fit_at_all_is_refused_for_good(server: tuple[str, object]) -> None:
    body = json.dumps({"images": [one_bit(4000)], "prompts": ["a"]}).encode()  # 256 MB to decode
    answer = post(server[0], body)
    assert (answer.status, json.loads(answer.data)["detail"]) == (
        413,
        "decoded, the request takes more than 128 MiB: send fewer images per request",
    )


def test_json_of_many_small_values_is_counted_as_what_it_becomes(server: tuple[str, object]) -> None:
    assert post(server[0], message(metadata={"kind": [[[]] * 2**21]})).status == 413


DYING = """
from mixgrpo.serving.app import Settings, reward_app
from mixgrpo.serving.batching import Batcher
from mixgrpo.serving.server import listen, serve, url

class Dying(Batcher):
    async def _process(self, jobs):
        raise OSError("out of file descriptors")

batcher = Dying("mine", lambda images, prompts: [], 8)
listening = listen("127.0.0.1", 0, None)
print(url(listening), flush=True)
serve(reward_app(batcher, Settings()), batcher, listening, 30)
"""


def test_a_server_whose_queue_fails_ends_loudly() -> None:
    command = [sys.executable, "-c", DYING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        answer = post(process.stdout.readline().strip(), message())
        assert (answer.status, json.loads(answer.data)) == (503, {"detail": "the server has failed and is ending"})
        _, errors = process.communicate(timeout=5)
    assert process.returncode == 1
    assert "OSError: out of file descriptors" in errors
    assert errors.endswith("RuntimeError: the reward server's queue failed\n")


def test_a_second_ctrl_c_ends_a_server_whose_reward_hangs(tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(SLOW, encoding="utf-8")
    with reward_server(f"{file}:score") as (url, process), connect(url) as connection:
        body = message()
        connection.sendall(HEADER % len(body) + body)
        while json.loads(urllib3.request("GET", f"{url}/metrics").data)["batches"] == 0:
            pass
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        process.wait(50)  # the reward takes 100 seconds
