"""Batch the requests of several clients into one call of the reward.

Whenever the reward becomes free, all waiting requests form the next batch. No request is held back to fill a batch: an
idle server responds at once, and a busy one finds more requests waiting.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mixgrpo.rewards.calling import call_reward
from mixgrpo.rewards.clients.wire import ScoreRequest
from mixgrpo.rewards.reward import Reward
from mixgrpo.rewards.workers import Workers

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

Scores = list[float | None]


class RewardFailed(RuntimeError):
    """The reward raised, or returned no list of scores."""


class Stopped(RuntimeError):
    """The batcher itself failed: no request is scored any more."""

    def __init__(self) -> None:
        super().__init__("the server has failed and is ending")


class ClientGone(RuntimeError):
    """The client disconnected before its request was scored."""


@dataclass(frozen=True)
class _Job:
    request: ScoreRequest
    is_disconnected: Callable[[], Awaitable[bool]]
    scores: asyncio.Future[Scores]


class Batcher:
    """Calls the reward in one thread, one call at a time. `score` returns only while `run` is running."""

    def __init__(self, name: str, reward: Reward, max_batch: int) -> None:
        """Requests are merged up to `max_batch` images. A larger request forms a batch of its own."""
        self.name, self._reward, self._max_batch = name, reward, max_batch
        self._worker = Workers(1, "reward")
        self._failed = False
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self.batches = 0

    @property
    def queued_images(self) -> int:
        """Images that wait for the reward."""
        return sum(len(job.request.images) for job in self._jobs)

    async def score(self, request: ScoreRequest, is_disconnected: Callable[[], Awaitable[bool]]) -> Scores:
        """`is_disconnected` is called just before the request is scored. If it returns True, the request is dropped."""
        if self._failed:
            raise Stopped
        job = _Job(request, is_disconnected, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        return await asyncio.shield(job.scores)  # cancelling one request must not cancel the batch

    async def run(self) -> None:
        """Runs until it is cancelled. If it fails, so do all requests."""
        batch: list[_Job] = []
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._jobs:
                    batch = []
                    await self._fill(batch)
                    await self._process(batch)
        except Exception:
            self._failed = True
            for job in [*batch, *self._jobs]:
                if not job.scores.done():
                    job.scores.set_exception(Stopped())
            raise

    async def _fill(self, batch: list[_Job]) -> None:
        room = self._max_batch
        while self._jobs and (not batch or len(self._jobs[0].request.images) <= room):
            job = self._jobs[0]
            gone = await job.is_disconnected()
            self._jobs.popleft()
            if gone:
                job.scores.set_exception(ClientGone())
                continue
            batch.append(job)
            room -= len(job.request.images)

    async def _process(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            scores = await self._call(merge([job.request for job in jobs]))
        except RewardFailed as error:
            if len(jobs) == 1:
                jobs[0].scores.set_exception(error)
                return
            for job in jobs:  # score them one by one, so that only the request at fault fails
                await self._process([job])
            return
        for job in jobs:
            count = len(job.request.images)
            job.scores.set_result(scores[:count])
            scores = scores[count:]

    async def _call(self, request: ScoreRequest) -> Scores:
        self.batches += 1
        try:
            return await asyncio.wrap_future(self._worker.submit(call_reward, self._reward, *request))
        except Exception as error:
            why = _ADDRESS.sub("", str(error))  # clients need not know where this process keeps its objects
            raise RewardFailed(f"the reward {self.name} failed: {type(error).__name__}: {why}") from error


def merge(requests: Sequence[ScoreRequest]) -> ScoreRequest:
    """Concatenates requests. Where a request lacks a metadata column of another, its values are None."""
    columns = sorted({key for request in requests for key in request.metadata})
    return ScoreRequest(
        [image for request in requests for image in request.images],
        [prompt for request in requests for prompt in request.prompts],
        {key: [value for r in requests for value in r.metadata.get(key, [None] * len(r.images))] for key in columns},
    )
