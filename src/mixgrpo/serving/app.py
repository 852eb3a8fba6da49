"""The HTTP interface of a reward server: authentication, limits and error responses."""

import asyncio
import hmac
import time
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from mixgrpo import __version__
from mixgrpo.rewards.clients.wire import (
    PROTOCOL,
    SCORE_PATH,
    VERSION_PATH,
    Limits,
    Malformed,
    ScoreRequest,
    TooLarge,
    decode,
    encode_scores,
)

from .batching import Batcher, ClientGone, RewardFailed, Scores, Stopped
from .metrics import Metrics
from .request_memory import Busy, Memory, Share


class TooSlow(RuntimeError):
    """A request that did not arrive in time."""


_STATUS: dict[type[Exception], int] = {
    Malformed: 400,
    TooSlow: 408,
    TooLarge: 413,
    ClientDisconnect: 499,
    ClientGone: 499,
    RewardFailed: 500,
    Busy: 503,
    Stopped: 503,
}
_HEADERS = {408: {"Connection": "close"}, 503: {"Retry-After": "1"}}


@dataclass(frozen=True)
class Settings:
    token: str | None = None
    """The token that clients must send, if any."""
    max_requests: int = 128
    """Requests that wait or are scored."""
    memory: int = 4 * 2**30
    """Bytes of all requests together: their bodies, also those that are still arriving, and their decoded images."""
    read_timeout: float = 30.0
    """Seconds within which a request must arrive."""
    limits: Limits = field(default_factory=Limits)


def reward_app(batcher: Batcher, settings: Settings) -> FastAPI:
    service = RewardService(batcher, settings)
    app = FastAPI(openapi_url=None)
    authenticated = Depends(service.check_token)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(VERSION_PATH, dependencies=[authenticated])
    async def version() -> dict[str, Any]:
        return {"reward": batcher.name, "mixgrpo": __version__, "protocol": PROTOCOL}

    @app.get("/metrics", dependencies=[authenticated])
    async def metrics() -> dict[str, Any]:
        return service.metrics()

    @app.post(SCORE_PATH)
    async def score(request: Request) -> Response:
        return await service.score(request)

    return app


class RewardService:
    def __init__(self, batcher: Batcher, settings: Settings) -> None:
        self.batcher, self._settings = batcher, settings
        self._open_requests = 0
        self._memory = Memory(settings.memory)
        self._metrics = Metrics()

    async def check_token(self, request: Request) -> None:
        token, given = self._settings.token, request.headers.get("authorization", "")
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    def metrics(self) -> dict[str, Any]:
        return {
            "queue_images": self.batcher.queued_images,
            "open_requests": self._open_requests,
            "memory_bytes": self._memory.used,
            "batches": self.batcher.batches,
            **self._metrics.as_json(),
        }

    async def score(self, request: Request) -> Response:
        begin = time.perf_counter()
        try:
            scores = await self._admit(request)
        except HTTPException as error:
            self._metrics.record(error.status_code, 0, time.perf_counter() - begin)
            raise
        self._metrics.record(200, len(scores), time.perf_counter() - begin)
        return Response(encode_scores(scores), media_type="application/json")

    async def _admit(self, request: Request) -> Scores:
        await self.check_token(request)
        try:
            with self._memory.share() as share:
                body = await self._read(request, share)
                return await self._score(request, body, share)
        except tuple(_STATUS) as error:
            status = _STATUS[type(error)]
            raise HTTPException(status, str(error), _HEADERS.get(status)) from error

    async def _read(self, request: Request, share: Share) -> bytearray:
        seconds, body = self._settings.read_timeout, bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    share.take(len(chunk))
                    body += chunk
                    if len(body) > self._settings.limits.body:
                        raise TooLarge(
                            f"the body has more than {self._settings.limits.body} bytes: send fewer images per request"
                        )
        except TimeoutError:
            raise TooSlow(f"the request did not arrive within {seconds:g} s: send fewer images per request") from None
        return body

    async def _score(self, request: Request, body: bytearray, share: Share) -> Scores:
        """A request takes a place only now that it is here, so slow clients keep nobody out."""
        if self._open_requests >= self._settings.max_requests:
            raise Busy(f"busy with {self._open_requests} requests: try again")
        self._open_requests += 1
        try:
            return await self.batcher.score(await self._decode(request, body, share), request.is_disconnected)
        finally:
            self._open_requests -= 1

    async def _decode(self, request: Request, body: bytearray, share: Share) -> ScoreRequest:
        content_type = request.headers.get("content-type", "")
        decoded = await asyncio.to_thread(decode, body, content_type, self._settings.limits, share.take)
        body.clear()
        share.keep(decoded.memory)
        return decoded
