"""Rewards as people write them: by keyword, coroutines, None for no score; and what is no list of scores."""

import asyncio
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from mixgrpo.rewards.calling import call_reward

IMAGES = [Image.new("RGB", (1 + i, 1)) for i in range(2)]


def call(reward: Callable[..., Any], **metadata: list[Any]) -> list[float | None]:
    return call_reward(reward, IMAGES, ["a", "b"], metadata)


def test_arguments_are_passed_by_name() -> None:
    def swapped(prompts: list[str], images: list[Image.Image], **metadata: list[Any]) -> list[float]:
        assert (prompts, images, metadata) == (["a", "b"], IMAGES, {"kind": [1, None]})
        return [1.0, 2.0]

    assert call(swapped, kind=[1, None]) == [1, 2]


def test_a_coroutine_is_awaited() -> None:
    async def slow(images: list[Image.Image], prompts: list[str]) -> list[float]:
        await asyncio.sleep(0)
        return [float(image.width) for image in images]

    assert call(slow) == [1, 2]


def test_coroutines_share_an_event_loop() -> None:
    """A client that a reward keeps works only in the loop in which it was made."""
    loops = []

    async def reward(images: list[Image.Image], prompts: list[str]) -> list[float]:
        loops.append(asyncio.get_running_loop())
        return [0.0, 0.0]

    for _ in range(2):
        call(reward)
    assert loops[0] is loops[1]


def test_a_coroutine_that_exits_is_an_error_and_the_next_one_is_awaited() -> None:
    async def leaving(images: list[Image.Image], prompts: list[str]) -> list[float]:
        sys.exit(0)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="it raised SystemExit: 0"):
            call(leaving)


@pytest.mark.parametrize(
    "scores", [[1, 2], (True, 2.0), torch.tensor([1.0, 2.0]), iter([1, 2])], ids=["list", "tuple", "tensor", "iterator"]
)
def test_any_sequence_of_numbers_will_do(scores: Any) -> None:
    assert call(lambda images, prompts: scores) == [1, 2]


def test_none_is_no_score_and_nan_is_no_judgement() -> None:
    none, nan = call(lambda images, prompts: [None, math.nan])
    assert none is None
    assert nan is not None
    assert math.isnan(nan)


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ({0: 1.0, 1: 2.0}, "it returned a dict, and must return a list with one score per image"),
        ({1.0, 2.0}, "it returned a set, and must return a list"),
        ("12", "it returned a str, and must return a list"),
        (None, "it returned a NoneType, and must return a list"),
        (0.5, "it returned a float, and must return a list"),
        ([1.0], "it returned 1 scores for 2 images, and must return one each"),
        (["1", 2.0], "it returned '1' as a score, which is text and no number"),
    ],
)
def test_anything_else_is_refused(scores: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        call(lambda images, prompts: scores)


@pytest.mark.parametrize(
    ("reward", "columns", "sentence"),
    [
        (lambda images, completions: [], {}, r"\(images, completions\), but it is called with images, prompts by name"),
        (lambda images, prompts, size: [], {"kind": [1, 2]}, r"missing a required argument: 'size'.*\*\*metadata\)"),
        (lambda images, prompts, size: [], {}, "missing a required argument: 'size'"),
        (lambda images, prompts, **metadata: [], {"images": [1, 2]}, "the prompts have a column `images`: rename it"),
    ],
)
def test_other_parameters_are_named(reward: Any, columns: dict[str, list[Any]], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        call_reward(reward, IMAGES, ["a", "b"], columns)


def test_a_reward_gets_the_columns_that_it_has_parameters_for() -> None:
    columns: dict[str, list[Any]] = {"kind": ["x", "y"], "size": [3, 4]}
    assert call(lambda images, prompts: [1, 2], **columns) == [1, 2]
    assert call(lambda images, prompts, size: size, **columns) == [3, 4]
    assert call(lambda images, prompts, size, **rest: [len(rest)] * 2, **columns) == [1, 1]


def test_a_reward_cannot_end_the_process() -> None:
    with pytest.raises(RuntimeError, match="it raised SystemExit: 0"):
        call(lambda images, prompts: sys.exit(0))
