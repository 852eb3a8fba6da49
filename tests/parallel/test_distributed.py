import os
import subprocess
import sys
from pathlib import Path

import pytest
from launching import free_port

_TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]

_LEAVE = """
import sys, time
from pathlib import Path
from mixgrpo.parallel import distributed
with distributed.processes():
    if distributed.rank() == 0:
        time.sleep(2)
        Path(sys.argv[1], "exported").touch()
assert Path(sys.argv[1], "exported").exists()
"""

_FAIL = """
import sys
from mixgrpo.parallel import distributed
with distributed.processes():
    if distributed.rank() == 1:
        raise SystemExit("a mistake")
    distributed.gather(1)
"""

_FAIL_TOGETHER = """
from mixgrpo.cli.errors import training_errors
from mixgrpo.parallel import distributed
with training_errors(), distributed.processes():
    distributed.gather(1)
    raise ValueError("a mistake that both find")
"""

_FAIL_IN_TURN = """
from mixgrpo.cli.errors import training_errors
from mixgrpo.parallel import distributed
with training_errors(), distributed.processes():
    if distributed.rank() == 1:
        raise ValueError("a mistake of the second")
    distributed.gather(1)  # its connection breaks
"""

_START_AGAIN = """
import os, time
from mixgrpo.parallel import distributed
rank = int(os.environ["RANK"])
if distributed.restarted() and rank == 1:
    time.sleep(2)  # the other one looks for it when only addresses of the first start are there
with distributed.processes():
    distributed.gather(1)
    if not distributed.restarted() and rank == 1:
        os._exit(1)
"""

_ROWS = """
import torch
from mixgrpo.parallel import distributed
with distributed.processes():
    rank = distributed.rank()
    own = [number for group in distributed.local_range(3) for number in (10 * group, 10 * group + 1)]
    rows = distributed.gather_rows(torch.tensor(own), 3)
    assert rows.tolist() == [0, 1, 10, 11, 20, 21], rows
    assert distributed.total(rank + 1) == 3
    assert distributed.largest([rank, 5 - rank]) == [1, 5]
    assert distributed.anywhere(rank == 1) and not distributed.anywhere(False)
"""

_SUM = """
import torch
from mixgrpo.parallel import distributed
distributed._BUCKET_BYTES = 40
with distributed.processes():
    rank = distributed.rank()
    tensors = [torch.full(shape, float(i + rank)) for i, shape in enumerate([(), (3, 2), (20,), (1,), (4,)])]
    sizes = [[part.numel() for part in bucket] for bucket in distributed._buckets(tensors)]
    assert sizes == [[1, 6], [20], [1, 4]], sizes
    distributed.sum_tensors(tensors)
    assert [tensor.unique().tolist() for tensor in tensors] == [[2.0 * i + 1] for i in range(5)]
"""


def run(tmp_path: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "script.py"
    file.write_text(script)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*_TORCHRUN, *(options or ["--standalone"]), str(file), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
    )


@pytest.mark.parametrize(
    "script", [_LEAVE, _SUM, _ROWS], ids=["they leave together", "sums in buckets", "rows, totals and maxima"]
)
def test_two_processes(tmp_path: Path, script: str) -> None:
    done = run(tmp_path, script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", ["fixed", "chosen"])
def test_processes_that_are_started_again_find_each_other(tmp_path: Path, address: str) -> None:
    where = ["--standalone"] if address == "chosen" else [f"--master-port={free_port()}"]
    done = run(tmp_path, _START_AGAIN, "--max-restarts=1", *where)
    assert done.returncode == 0, done.stderr


def test_after_an_error_nobody_is_waited_for(tmp_path: Path) -> None:
    done = run(tmp_path, _FAIL)
    assert done.returncode != 0
    assert "a mistake" in done.stderr


@pytest.mark.parametrize("script", [_FAIL_TOGETHER, _FAIL_IN_TURN], ids=["together", "in turn"])
def test_a_run_tells_one_error_whoever_finds_it(tmp_path: Path, script: str) -> None:
    done = run(tmp_path, script)
    assert done.returncode != 0
    ours = done.stderr.partition("torch/distributed/elastic")[0]
    assert ours.count("a mistake") == 1, done.stderr
    assert "Traceback" not in ours, done.stderr
