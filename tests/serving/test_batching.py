"""Waiting requests are batched, and each gets its own scores."""

import asyncio
import threading
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from PIL import Image

from mixgrpo.rewards.clients.wire import ScoreRequest
from mixgrpo.serving.batching import Batcher, ClientGone, RewardFailed, Scores, Stopped, merge


def score_request(*values: int, **metadata: list[Any]) -> ScoreRequest:
    """Images whose pixels identify them."""
    return ScoreRequest([Image.new("RGB", (2, 2), (v, v, v)) for v in values], [str(v) for v in values], metadata)


async def still_connected() -> bool:
    return False


class BlockedReward:
    """A reward that blocks until it is released, and records the prompts of its calls."""

    def __init__(self) -> None:
        self.release, self.called = threading.Event(), threading.Event()
        self.calls: list[list[str]] = []

    def __call__(self, images: list[Image.Image], prompts: list[str], **metadata: list[Any]) -> list[float]:
        self.calls.append(prompts)
        self.called.set()
        assert self.release.wait(5)
        if "13" in prompts:
            raise ValueError("thirteen of <object at 0x7f0011223344>")
        if "14" in prompts:
            return [0.0]
        return [float(image.getpixel((0, 0))[0]) for image in images]  # type: ignore[index]


async def score_all(
    reward: BlockedReward, max_batch: int, requests: list[ScoreRequest], disconnected: Sequence[int] = ()
) -> list[Scores | BaseException]:
    """The first request is scored alone; the others wait meanwhile."""
    batcher = Batcher("blocked", reward, max_batch)

    async def is_disconnected(i: int) -> bool:
        return i in disconnected

    running = asyncio.create_task(batcher.run())
    scores: list[Awaitable[Scores]] = [asyncio.create_task(batcher.score(requests[0], still_connected))]
    await asyncio.to_thread(reward.called.wait, 5)
    scores += [
        asyncio.create_task(batcher.score(request, lambda i=i: is_disconnected(i)))  # type: ignore[misc]
        for i, request in enumerate(requests[1:], start=1)
    ]
    await asyncio.sleep(0)
    assert batcher.queued_images == sum(len(request.images) for request in requests[1:])
    reward.release.set()
    results = await asyncio.gather(*scores, return_exceptions=True)
    running.cancel()
    return results


def test_waiting_requests_are_merged_up_to_the_limit_and_get_their_own_scores() -> None:
    reward = BlockedReward()
    requests = [score_request(1), score_request(2, 3), score_request(4), score_request(5, 6), score_request(7)]
    results = asyncio.run(score_all(reward, 4, requests))
    assert results == [[1], [2, 3], [4], [5, 6], [7]]
    assert reward.calls == [["1"], ["2", "3", "4"], ["5", "6", "7"]]


def test_a_request_larger_than_the_limit_is_a_batch_of_its_own() -> None:
    reward = BlockedReward()
    results = asyncio.run(
        score_all(reward, 2, [score_request(1), score_request(2), score_request(3, 4, 5), score_request(6)])
    )
    assert results == [[1], [2], [3, 4, 5], [6]]
    assert reward.calls == [["1"], ["2"], ["3", "4", "5"], ["6"]]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (13, "the reward blocked failed: ValueError: thirteen of <object>"),
        (14, "the reward blocked failed: ValueError: it returned 1 scores for 2 images, and must return one each"),
    ],
)
def test_a_failing_request_does_not_affect_the_others_in_its_batch(bad: int, why: str) -> None:
    results = asyncio.run(
        score_all(BlockedReward(), 8, [score_request(1), score_request(2), score_request(bad, bad), score_request(3)])
    )
    assert results[:2] == [[1], [2]]
    assert results[3] == [3]
    assert isinstance(results[2], RewardFailed)
    assert str(results[2]) == why


def test_requests_of_disconnected_clients_are_dropped() -> None:
    reward = BlockedReward()
    results = asyncio.run(
        score_all(reward, 8, [score_request(1), score_request(2), score_request(3)], disconnected=[1])
    )
    assert isinstance(results[1], ClientGone)
    assert results[2] == [3]
    assert reward.calls == [["1"], ["3"]]


def test_a_batcher_that_fails_leaves_no_request_waiting() -> None:
    async def broken() -> bool:
        raise OSError("no such connection")

    async def outcomes() -> list[Any]:
        batcher = Batcher("never", lambda images, prompts: [], 8)
        waiting = [asyncio.create_task(batcher.score(score_request(1), broken)) for _ in range(2)]
        await asyncio.sleep(0)
        ended = await asyncio.gather(batcher.run(), *waiting, return_exceptions=True)
        return [*ended, *await asyncio.gather(batcher.score(score_request(2), still_connected), return_exceptions=True)]

    ended, *requests = asyncio.run(outcomes())
    assert isinstance(ended, OSError)
    assert [type(request) for request in requests] == [Stopped] * 3


def test_missing_metadata_columns_are_none() -> None:
    merged = merge([score_request(1, 2, kind=["a", "b"]), score_request(3, size=[7])])
    assert merged.metadata == {"kind": ["a", "b", None], "size": [None, None, 7]}
    assert merged.prompts == ["1", "2", "3"]
