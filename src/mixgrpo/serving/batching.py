"""Requests of several clients in one call of the reward: what waits when the reward becomes free goes together.

Nothing is held back for a fuller batch: an idle server answers at once, a busy one finds more waiting.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from mixgrpo.rewards.clients.wire import Scoring
from mixgrpo.rewards.reward import Reward


class RewardFailed(RuntimeError):
    """The reward raised, or gave another number of scores than there were images."""


class ClientGone(RuntimeError):
    """Nobody waits for this answer any more."""


@dataclass(frozen=True)
class _Job:
    scoring: Scoring
    gone: Callable[[], Awaitable[bool]]
    answer: asyncio.Future[list[float]]


class Batcher:
    """Calls the reward, in one thread, one call at a time. `run` must be running for `score` to be answered."""

    def __init__(self, name: str, reward: Reward, max_batch: int) -> None:
        """Requests are joined up to `max_batch` images; a larger one goes alone."""
        self._name, self._reward, self._max_batch = name, reward, max_batch
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self.batches = 0

    @property
    def waiting(self) -> int:
        """Images that wait for the reward."""
        return sum(len(job.scoring.images) for job in self._jobs)

    async def score(self, scoring: Scoring, gone: Callable[[], Awaitable[bool]]) -> list[float]:
        """`gone` tells whether the client still wants the answer by the time it is this request's turn."""
        job = _Job(scoring, gone, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._arrived.set()
        return await asyncio.shield(job.answer)  # who stops waiting does not stop the batch

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._jobs:
                await self._answer(await self._take())

    async def _take(self) -> list[_Job]:
        taken: list[_Job] = []
        room = self._max_batch
        while self._jobs and (not taken or len(self._jobs[0].scoring.images) <= room):
            job = self._jobs.popleft()
            if await job.gone():
                job.answer.set_exception(ClientGone())
                continue
            taken.append(job)
            room -= len(job.scoring.images)
        return taken

    async def _answer(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            scores = await self._call(joined([job.scoring for job in jobs]))
        except RewardFailed as error:
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            for job in jobs:  # one of them is to blame: the others must not suffer
                await self._answer([job])
            return
        for job in jobs:
            count = len(job.scoring.images)
            job.answer.set_result(scores[:count])
            scores = scores[count:]

    async def _call(self, scoring: Scoring) -> list[float]:
        self.batches += 1
        images, prompts, metadata = scoring
        try:
            scores = [float(s) for s in await asyncio.to_thread(self._reward, images, prompts, **metadata)]
        except Exception as error:
            raise RewardFailed(f"the reward {self._name} raised {type(error).__name__}: {error}") from error
        if len(scores) != len(images):
            raise RewardFailed(f"the reward {self._name} gave {len(scores)} scores for {len(images)} images")
        return scores


def joined(scorings: Sequence[Scoring]) -> Scoring:
    """One after the other; None where a request has no such column."""
    columns = sorted({key for scoring in scorings for key in scoring.metadata})
    return Scoring(
        [image for scoring in scorings for image in scoring.images],
        [prompt for scoring in scorings for prompt in scoring.prompts],
        {key: [value for s in scorings for value in s.metadata.get(key, [None] * len(s.images))] for key in columns},
    )
