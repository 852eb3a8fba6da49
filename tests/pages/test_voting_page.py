"""The voting page in a real browser: by keys and by clicking, in light and dark, on a phone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mixgrpo.rewards.human.reward import human

Open = Callable[..., Any]
IMAGES = [Image.new("RGB", (32, 32), (level, 0, 0)) for level in (10, 90, 250)]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 400)])
def test_images_are_judged_by_keys(
    scheme: str, width: int, opened: Open, violations: Callable[[Any], list[str]], tmp_path: Path
) -> None:
    reward = human(port=0)
    with reward.opened(tmp_path) as said, ThreadPoolExecutor() as pool:
        scores = pool.submit(reward, images=IMAGES, prompts=["first", "second", "third"])
        page = opened(said.removeprefix("vote at "), width=width, scheme=scheme)
        page.wait_for_function("document.getElementById('prompt').textContent === 'first'")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("document.getElementById('prompt').textContent === 'second'")
        page.keyboard.press("z")
        page.wait_for_function("document.getElementById('prompt').textContent === 'first'")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.getElementById('prompt').textContent === 'second'")
        page.get_by_role("button", name="Bad").click()
        page.wait_for_function("document.getElementById('prompt').textContent === 'third'")
        page.keyboard.press("s")
        page.wait_for_function("document.getElementById('prompt').textContent === 'Waiting for images'")
        assert scores.result() == [1.0, 0.0, None]


def test_the_better_of_two_is_clicked(opened: Open, violations: Callable[[Any], list[str]], tmp_path: Path) -> None:
    reward = human(port=0, mode="pairs")
    with reward.opened(tmp_path) as said, ThreadPoolExecutor() as pool:
        scores = pool.submit(reward, images=IMAGES, prompts=["one"] * 3)
        page = opened(said.removeprefix("vote at "))
        for left in (3, 2, 1):
            page.wait_for_function(f"document.getElementById('left').textContent.startsWith('{left} to go')")
            assert violations(page) == []
            page.get_by_role("button", name="The left image").click()
        assert scores.result() == [0.5, 0.5, 0.5]  # each once on the left, once on the right
