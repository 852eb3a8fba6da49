"""The report in a real browser, opened from disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mixgrpo.report.live import live_page
from mixgrpo.report.page import write_report
from mixgrpo.runs.folder import RunFolder
from report_runs import made

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of which one has samples."""
    path = tmp_path_factory.mktemp("report")
    runs = [made(path / "first", 40), made(path / "second", 20, seed=1)]
    samples = RunFolder(runs[0]).samples
    samples.mkdir()
    for iteration, level in ((0, 0), (40, 255)):
        Image.new("RGB", (64, 64), (level, level, level)).save(samples / f"{iteration:06}.png")
    write_report(runs, path / "report.html")
    return path / "report.html"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 400)])
def test_it_is_readable(
    scheme: str, width: int, report: Path, opened: Open, violations: Callable[[Any], list[str]]
) -> None:
    page = opened(report.as_uri(), width=width, scheme=scheme)
    page.wait_for_selector("canvas")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    assert page.get_by_text("\N{MINUS SIGN}0.250").count() >= 1  # the gain of a reward that fell from 0.5 to 0.25


def test_axis_runs_and_samples_are_chosen(report: Path, opened: Open) -> None:
    page = opened(report.as_uri())
    charts = page.locator(".chart").count()
    assert charts >= 8
    page.locator("select").select_option("seconds")
    assert page.get_by_label("gradient norm over seconds of training").count() == 1
    page.get_by_role("checkbox", name="second").uncheck()
    assert page.locator(".chart").count() == charts
    page.get_by_role("checkbox", name="first").uncheck()
    assert page.locator(".chart").count() == 0
    slider = page.get_by_label("Evaluation of first")
    assert page.locator("img.sheet").get_attribute("alt") == "after 40 iterations"
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("img.sheet").get_attribute("alt") == "before training"


def test_a_live_page_follows_and_asks(tmp_path: Path, opened: Open, violations: Callable[[Any], list[str]]) -> None:
    run = made(tmp_path / "run", 20)
    folder = RunFolder(run)
    with live_page(run, 0) as address:
        page = opened(address)
        page.get_by_text("20 of 20 iterations").wait_for()
        folder.append({**folder.lines()[0][-1], "iteration": 20})
        page.get_by_text("21 of 20 iterations").wait_for()
        assert violations(page) == []
        page.get_by_role("button", name="Evaluate now").click()
        page.get_by_text("Asked for an evaluation").wait_for()
        page.get_by_role("button", name="Stop after").click()
        page.get_by_text("Asked to stop").wait_for()
    assert {file.name for file in run.glob("request-*")} == {"request-evaluate", "request-stop"}


def test_a_run_that_has_just_begun(tmp_path: Path, opened: Open) -> None:
    folder = made(tmp_path / "new", 0)
    for file in folder.glob("evaluation-*"):
        file.unlink()
    write_report([folder], tmp_path / "report.html")
    page = opened((tmp_path / "report.html").as_uri())
    assert page.get_by_text("No evaluation yet").count() == 1
    assert page.get_by_text("No iteration is done yet").count() == 1
