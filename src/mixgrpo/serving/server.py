"""The server process: its listening socket, its graceful shutdown, and its end when the queue fails."""

import asyncio
import ipaddress
import signal
import socket

import uvicorn
from fastapi import FastAPI

from .batching import Batcher
from .protocol import timed_protocol

_KEEP_ALIVE = 75  # seconds: a training process reconnects once per iteration
_LAST_REQUESTS = 30  # seconds that the reward has for the open requests when the server is told to stop


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """Only a server with a token may listen beyond this machine: whoever can reach the port could use the reward."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if token is None and not ipaddress.ip_address(address[0]).is_loopback:
        raise ValueError(
            f"--host {host} can be reached from other machines: give a token with --token-env or --token-file, or "
            "stay on 127.0.0.1"
        )
    # Unlike `socket.create_server`, this names the protocol: only then does asyncio turn off Nagle's algorithm, which
    # would delay every response by 40 ms, until the client has acknowledged the header.
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen(1024)
    return listening


def serve(app: FastAPI, batcher: Batcher, listening: socket.socket, read_timeout: float) -> None:
    """Runs until SIGTERM or SIGINT, then completes the open requests. A second SIGINT stops at once. Raises an error if
    the batcher fails: without it, no request would ever be answered.
    """
    config = uvicorn.Config(
        app,
        http=timed_protocol(read_timeout),
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_REQUESTS,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises the signal again when it has shut down
    asyncio.run(_run(uvicorn.Server(config), batcher, listening))


async def _run(server: uvicorn.Server, batcher: Batcher, listening: socket.socket) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    batching = asyncio.create_task(batcher.run())
    await asyncio.wait([serving, batching], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    if batching.done():
        raise RuntimeError("the reward server's queue failed") from batching.exception()
    batching.cancel()


def url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
