"""What waits together goes together, and comes back to who asked."""

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

import pytest
from PIL import Image

from mixgrpo.rewards.clients.wire import Scoring
from mixgrpo.serving.batching import Batcher, ClientGone, RewardFailed, joined


def scoring(*values: int, **metadata: list[Any]) -> Scoring:
    """Images that a reward tells apart by their pixels."""
    return Scoring([Image.new("RGB", (2, 2), (v, v, v)) for v in values], [str(v) for v in values], metadata)


async def still_there() -> bool:
    return False


class Held:
    """A reward that waits until it is let go, and keeps what it was called with."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.calls: list[list[str]] = []

    def __call__(self, images: list[Image.Image], prompts: list[str], **metadata: list[Any]) -> list[float]:
        self.calls.append(prompts)
        self.begun.set()
        assert self.go.wait(5)
        if "13" in prompts:
            raise ValueError("thirteen")
        if "14" in prompts:
            return [0.0]
        return [float(image.getpixel((0, 0))[0]) for image in images]  # type: ignore[index]


async def together(
    reward: Held, max_batch: int, requests: list[Scoring], gone: list[int] | None = None
) -> list[list[float] | BaseException]:
    """The first goes alone; the rest wait while it is scored."""
    batcher = Batcher("held", reward, max_batch)

    async def has_gone(i: int) -> bool:
        return i in (gone or [])

    running = asyncio.create_task(batcher.run())
    answers: list[Awaitable[list[float]]] = [asyncio.create_task(batcher.score(requests[0], still_there))]
    await asyncio.to_thread(reward.begun.wait, 5)
    answers += [
        asyncio.create_task(batcher.score(request, lambda i=i: has_gone(i)))  # type: ignore[misc]
        for i, request in enumerate(requests[1:], start=1)
    ]
    await asyncio.sleep(0)
    assert batcher.waiting == sum(len(request.images) for request in requests[1:])
    reward.go.set()
    results = await asyncio.gather(*answers, return_exceptions=True)
    running.cancel()
    return results


def test_what_waits_is_joined_up_to_the_limit_and_answers_find_back() -> None:
    reward = Held()
    requests = [scoring(1), scoring(2, 3), scoring(4), scoring(5, 6), scoring(7)]
    results = asyncio.run(together(reward, 4, requests))
    assert results == [[1], [2, 3], [4], [5, 6], [7]]
    assert reward.calls == [["1"], ["2", "3", "4"], ["5", "6", "7"]]


def test_a_request_larger_than_a_batch_goes_alone() -> None:
    reward = Held()
    results = asyncio.run(together(reward, 2, [scoring(1), scoring(2), scoring(3, 4, 5), scoring(6)]))
    assert results == [[1], [2], [3, 4, 5], [6]]
    assert reward.calls == [["1"], ["2"], ["3", "4", "5"], ["6"]]


@pytest.mark.parametrize(
    ("bad", "why"),
    [(13, "the reward held raised ValueError: thirteen"), (14, "the reward held gave 1 scores for 2 images")],
)
def test_a_request_that_the_reward_fails_on_does_not_harm_its_neighbours(bad: int, why: str) -> None:
    results = asyncio.run(together(Held(), 8, [scoring(1), scoring(2), scoring(bad, bad), scoring(3)]))
    assert results[:2] == [[1], [2]]
    assert results[3] == [3]
    assert isinstance(results[2], RewardFailed)
    assert str(results[2]) == why


def test_nobody_scores_for_a_client_that_has_gone() -> None:
    reward = Held()
    results = asyncio.run(together(reward, 8, [scoring(1), scoring(2), scoring(3)], gone=[1]))
    assert isinstance(results[1], ClientGone)
    assert results[2] == [3]
    assert reward.calls == [["1"], ["3"]]


def test_columns_that_a_request_lacks_are_none() -> None:
    whole = joined([scoring(1, 2, kind=["a", "b"]), scoring(3, size=[7])])
    assert whole.metadata == {"kind": ["a", "b", None], "size": [None, None, 7]}
    assert whole.prompts == ["1", "2", "3"]
