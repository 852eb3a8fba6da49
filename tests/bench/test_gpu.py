from pathlib import Path

import pytest
import torch

from bench_setups import tiny_setup
from mixgrpo.bench.gpu import main, measure, table


def test_a_row_per_algorithm_with_its_times() -> None:
    rows = measure({"tiny": tiny_setup()}, ["turbo"])
    assert [(row["model"], row["algorithm"], row["images"]) for row in rows] == [("tiny", "turbo", 6)]
    assert rows[0]["seconds"] > rows[0]["update"] > 0
    assert table(rows).row_count == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path / "gpu.json")
    assert "there is no GPU" in capsys.readouterr().out
    assert not [*tmp_path.iterdir()]
