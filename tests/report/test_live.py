"""The live report over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import pytest

from mixgrpo.report.live import live_page
from mixgrpo.runs.folder import RunFolder
from report_runs import made
from voter import get, post


def test_what_is_new_is_told_when_it_comes(tmp_path: Path) -> None:
    run = made(tmp_path / "run", 5)
    line = RunFolder(run).lines()[0][-1]
    with live_page(run, 0) as address, ThreadPoolExecutor() as pool:
        first = get(address, "data")
        assert first["runs"][0]["x"]["iterations"][-1] == 5
        waiting = pool.submit(get, address, f"data?seen={first['state'].replace(' ', '%20')}")
        RunFolder(run).append({**line, "iteration": 5})
        assert waiting.result()["runs"][0]["x"]["iterations"][-1] == 6


def test_a_run_can_be_asked(tmp_path: Path) -> None:
    run = made(tmp_path / "run", 1)
    with live_page(run, 0) as address:
        assert post(address, "evaluate", {}) == {"asked": "evaluate"}
        assert [file.name for file in run.glob("request-*")] == ["request-evaluate"]
        for path, data in (("delete", {}), ("stop", {"now": True}), ("../stop", {})):
            with pytest.raises(HTTPError):
                post(address, path, data)
        assert len([*run.glob("request-*")]) == 1
