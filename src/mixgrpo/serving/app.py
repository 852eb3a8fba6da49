"""The HTTP interface of a reward server: authentication, limits and error responses."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from mixgrpo import __version__
from mixgrpo.rewards.clients.wire import PROTOCOL, SCORE_PATH, Limits, Malformed, TooLarge, decode, encode_scores
from mixgrpo.rewards.reward import Reward

from .batching import Batcher, ClientGone, RewardFailed
from .metrics import Metrics

_STATUS: dict[type[Exception], int] = {
    Malformed: 400,
    TooLarge: 413,
    ClientDisconnect: 499,
    ClientGone: 499,
    RewardFailed: 500,
}


@dataclass(frozen=True)
class Settings:
    token: str | None = None
    """The token that clients must send, if any."""
    max_batch: int = 64
    """Images per call of the reward, unless a single request has more."""
    max_requests: int = 128
    """Open requests, from their first byte to the response. This bounds the memory."""
    limits: Limits = field(default_factory=Limits)


def reward_app(name: str, reward: Reward, settings: Settings) -> FastAPI:
    service = RewardService(Batcher(name, reward, settings.max_batch), settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batching = asyncio.create_task(service.batcher.run())
        yield
        batching.cancel()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    authenticated = Depends(service.check_token)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/version", dependencies=[authenticated])
    async def version() -> dict[str, Any]:
        return {"reward": name, "mixgrpo": __version__, "protocol": PROTOCOL}

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
        self._metrics = Metrics()

    async def check_token(self, request: Request) -> None:
        token, given = self._settings.token, request.headers.get("authorization", "")
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    def metrics(self) -> dict[str, Any]:
        return {
            "queue_images": self.batcher.queued_images,
            "open_requests": self._open_requests,
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

    async def _admit(self, request: Request) -> list[float]:
        await self.check_token(request)
        if self._open_requests >= self._settings.max_requests:
            raise HTTPException(503, f"busy with {self._open_requests} requests: try again", {"Retry-After": "1"})
        self._open_requests += 1
        try:
            return await self._scores(request)
        except tuple(_STATUS) as error:
            raise HTTPException(_STATUS[type(error)], str(error)) from error
        finally:
            self._open_requests -= 1

    async def _scores(self, request: Request) -> list[float]:
        limits = self._settings.limits
        body = await _read_body(request, limits.body)
        score_request = await asyncio.to_thread(decode, body, request.headers.get("content-type", ""), limits)
        return await self.batcher.score(score_request, is_disconnected=request.is_disconnected)


async def _read_body(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"the body has more than {max_bytes} bytes: send fewer images per request")
    return bytes(body)
