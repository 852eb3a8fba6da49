"""The server process: its listening socket and its graceful shutdown."""

import ipaddress
import signal
import socket

import uvicorn
from fastapi import FastAPI

_KEEP_ALIVE = 75  # seconds: a training process reconnects once per iteration


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


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Runs until SIGTERM or SIGINT, then completes the open requests. A second SIGINT stops at once."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=_KEEP_ALIVE)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises the signal again when it has shut down
    uvicorn.Server(config).run(sockets=[listening])


def url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
