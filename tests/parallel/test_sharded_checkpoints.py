"""Checkpoints of sharded training: a file from each process, read by any number of them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from under_torchrun import torchrun


def go_on(folder: Path, number: int, iterations: int, processes: int) -> None:
    """The run's part of this number."""
    files = [str(folder / f"{name}-{number}.safetensors") for name in ("found", "left")]
    torchrun("continue_together.py", str(folder / "checkpoints"), str(iterations), *files, processes=processes)


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.long
def test_two_processes_continue_exactly_what_two_began(tmp_path: Path) -> None:
    go_on(tmp_path / "straight", 0, 3, processes=2)
    go_on(tmp_path / "broken off", 0, 2, processes=2)
    go_on(tmp_path / "broken off", 1, 1, processes=2)
    assert_same_bits(tmp_path / "straight" / "left-0.safetensors", tmp_path / "broken off" / "left-1.safetensors")
    shards = sorted((tmp_path / "straight" / "checkpoints" / "000003").glob("*.safetensors"))
    assert len(shards) == 2
    sizes = [shard.stat().st_size for shard in shards]
    assert max(sizes) < 1.2 * min(sizes)  # a half each


@pytest.mark.long
def test_other_numbers_of_processes_find_the_same_state(tmp_path: Path) -> None:
    for number, processes in enumerate([4, 2, 1, 4]):
        go_on(tmp_path, number, 1, processes)
        if number:
            assert_same_bits(tmp_path / f"left-{number - 1}.safetensors", tmp_path / f"found-{number}.safetensors")
