"""Batch the requests of several clients into one call of the reward.

Whenever the reward becomes free, all waiting requests form the next batch. No request is held back to fill a batch: an
idle server responds at once, and a busy one finds more requests waiting.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mixgrpo.rewards.clients.wire import ScoreRequest
from mixgrpo.rewards.reward import Reward


class RewardFailed(RuntimeError):
    """The reward raised, or returned the wrong number of scores."""


class ClientGone(RuntimeError):
    """The client disconnected before its request was scored."""


@dataclass(frozen=True)
class _Job:
    request: ScoreRequest
    is_disconnected: Callable[[], Awaitable[bool]]
    scores: asyncio.Future[list[float]]


class Batcher:
    """Calls the reward in one thread, one call at a time. `score` returns only while `run` is running."""

    def __init__(self, name: str, reward: Reward, max_batch: int) -> None:
        """Requests are merged up to `max_batch` images. A larger request forms a batch of its own."""
        self._name, self._reward, self._max_batch = name, reward, max_batch
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self.batches = 0

    @property
    def queued_images(self) -> int:
        """Images that wait for the reward."""
        return sum(len(job.request.images) for job in self._jobs)

    async def score(self, request: ScoreRequest, is_disconnected: Callable[[], Awaitable[bool]]) -> list[float]:
        """`is_disconnected` is called just before the request is scored. If it returns True, the request is dropped."""
        job = _Job(request, is_disconnected, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        return await asyncio.shield(job.scores)  # cancelling one request must not cancel the batch

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._jobs:
                await self._process(await self._next_batch())

    async def _next_batch(self) -> list[_Job]:
        batch: list[_Job] = []
        room = self._max_batch
        while self._jobs and (not batch or len(self._jobs[0].request.images) <= room):
            job = self._jobs.popleft()
            if await job.is_disconnected():
                job.scores.set_exception(ClientGone())
                continue
            batch.append(job)
            room -= len(job.request.images)
        return batch

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

    async def _call(self, request: ScoreRequest) -> list[float]:
        self.batches += 1
        images, prompts, metadata = request
        try:
            scores = [float(s) for s in await asyncio.to_thread(self._reward, images, prompts, **metadata)]
        except Exception as error:
            raise RewardFailed(f"the reward {self._name} raised {type(error).__name__}: {error}") from error
        if len(scores) != len(images):
            raise RewardFailed(f"the reward {self._name} returned {len(scores)} scores for {len(images)} images")
        return scores


def merge(requests: Sequence[ScoreRequest]) -> ScoreRequest:
    """Concatenates requests. Where a request lacks a metadata column of another, its values are None."""
    columns = sorted({key for request in requests for key in request.metadata})
    return ScoreRequest(
        [image for request in requests for image in request.images],
        [prompt for request in requests for prompt in request.prompts],
        {key: [value for r in requests for value in r.metadata.get(key, [None] * len(r.images))] for key in columns},
    )
