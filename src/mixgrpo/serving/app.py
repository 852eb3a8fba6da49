"""The HTTP side of a reward server: who may ask, how much, and what is answered when something is wrong."""

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
    """What clients must show, if anything."""
    max_batch: int = 64
    """Images in one call of the reward, unless a single request has more."""
    max_requests: int = 128
    """Requests in the house, from the first byte to the answer: what bounds the memory."""
    limits: Limits = field(default_factory=Limits)


def reward_app(name: str, reward: Reward, settings: Settings) -> FastAPI:
    house = _House(Batcher(name, reward, settings.max_batch), settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batching = asyncio.create_task(house.batcher.run())
        yield
        batching.cancel()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    known = Depends(house.check_token)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/version", dependencies=[known])
    async def version() -> dict[str, Any]:
        return {"reward": name, "mixgrpo": __version__, "protocol": PROTOCOL}

    @app.get("/metrics", dependencies=[known])
    async def metrics() -> dict[str, Any]:
        return house.metrics()

    @app.post(SCORE_PATH)
    async def score(request: Request) -> Response:
        return await house.score(request)

    return app


class _House:
    def __init__(self, batcher: Batcher, settings: Settings) -> None:
        self.batcher, self._settings = batcher, settings
        self._requests = 0
        self._metrics = Metrics()

    async def check_token(self, request: Request) -> None:
        token, given = self._settings.token, request.headers.get("authorization", "")
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    def metrics(self) -> dict[str, Any]:
        return {
            "queue_images": self.batcher.waiting,
            "open_requests": self._requests,
            "batches": self.batcher.batches,
            **self._metrics.as_json(),
        }

    async def score(self, request: Request) -> Response:
        begin = time.perf_counter()
        try:
            scores = await self._admit(request)
        except HTTPException as refusal:
            self._metrics.answered(refusal.status_code, 0, time.perf_counter() - begin)
            raise
        self._metrics.answered(200, len(scores), time.perf_counter() - begin)
        return Response(encode_scores(scores), media_type="application/json")

    async def _admit(self, request: Request) -> list[float]:
        await self.check_token(request)
        if self._requests >= self._settings.max_requests:
            raise HTTPException(503, f"busy with {self._requests} requests: try again", {"Retry-After": "1"})
        self._requests += 1
        try:
            return await self._scores(request)
        except tuple(_STATUS) as problem:
            raise HTTPException(_STATUS[type(problem)], str(problem)) from problem
        finally:
            self._requests -= 1

    async def _scores(self, request: Request) -> list[float]:
        limits = self._settings.limits
        body = await _read(request, limits.body)
        scoring = await asyncio.to_thread(decode, body, request.headers.get("content-type", ""), limits)
        return await self.batcher.score(scoring, gone=request.is_disconnected)


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLarge(f"a body of more than {most} bytes: send fewer images at a time")
    return bytes(body)
