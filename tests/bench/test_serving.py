from pathlib import Path

import pytest

from mixgrpo.bench import tables
from mixgrpo.bench.serving import TEN_MS_PER_CALL, compare


def test_batching_saves_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ten_ms_per_call.py"
    file.write_text(TEN_MS_PER_CALL, encoding="utf-8")
    rows = compare(f"{file}:score", repetitions=2, images={1: 4, 8: 24})
    assert [row["concurrent_requests"] for row in rows] == [1, 8]
    assert rows[0]["images_per_call"] == {"single": 1, "batched": 1}
    assert rows[1]["images_per_call"]["single"] == 1
    assert rows[1]["images_per_call"]["batched"] > 1
    assert rows[1]["speedup"] > 1
    assert max(rows[0]["images_per_second"]["single"]) < 100  # 10 ms per image
    tables.serving({"rows": [{"reward": "10 ms per call", **row} for row in rows]})
    assert "10 ms per call" in capsys.readouterr().out
