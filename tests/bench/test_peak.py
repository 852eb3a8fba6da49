import sys

import pytest
import torch

from mixgrpo.bench.peak import Peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports a process's peak")
def test_the_peak_is_what_was_allocated_since() -> None:
    size = 64 * 2**20
    small = [torch.ones(2**16, dtype=torch.uint8) for _ in range(size // 2**16)]  # on the heap, and freed into it
    del small
    peak = Peak(torch.device("cpu"))
    after = torch.ones(size, dtype=torch.uint8)
    allocated = peak.bytes()
    assert allocated is not None
    assert 0.9 * size < allocated < 1.5 * size
    assert after.sum() == size
