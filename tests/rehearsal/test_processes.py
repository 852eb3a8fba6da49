import json
import os
import subprocess
import sys
from pathlib import Path


def test_each_process_takes_a_device_of_its_own_and_objects_travel_over_the_network() -> None:
    """Through NCCL they would all go by way of the first device, and no run on several could start."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "tests/rehearsal/processes.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "own": "stand_in:0",
        "chosen": [0],
        "bound": "stand_in:0",
        "backends": "cpu:gloo,stand_in:stand_in_ccl",
        "objects": ["an object"],
    }
