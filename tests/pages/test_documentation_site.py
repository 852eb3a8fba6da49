"""The documentation in a real browser, opened from disk."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    command = [str(Path(sys.executable).with_name("mkdocs")), "build", "--strict", "--quiet", "--site-dir", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    return path


@pytest.mark.parametrize("width", [1100, 400])
@pytest.mark.parametrize("page", ["index.html", "reference/recipe.html", "results/learning.html"])
def test_pages_open_without_a_network(page: str, width: int, site: Path, opened: Callable[..., Any]) -> None:
    shown = opened((site / page).as_uri(), width=width)
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert shown.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


def test_the_search_finds_a_key(site: Path, opened: Callable[..., Any]) -> None:
    shown = opened((site / "index.html").as_uri())
    shown.locator(".md-search__input").click()
    shown.keyboard.type("trained_fraction")
    found = shown.locator(".md-search-result__item").first
    found.wait_for(timeout=20_000)
    assert "trained_fraction" in found.inner_text()
