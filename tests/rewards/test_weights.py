"""Where weights are found, and what is refused."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPModel

from mixgrpo.rewards.weights import MissingWeights, from_pretrained, published_file, read


def test_a_file_its_folder_and_nothing_else_is_found(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({}, file)
    assert published_file("rewards.x.path", str(file), "another.pt") == file
    assert published_file("rewards.x.path", str(tmp_path), "model.pt") == file
    with pytest.raises(MissingWeights, match=r"rewards.x.path = .*found no other.pt there"):
        published_file("rewards.x.path", str(tmp_path), "other.pt")


def test_offline_the_error_says_which_file_from_where_and_which_option() -> None:
    with pytest.raises(MissingWeights) as caught:
        published_file("rewards.hpsv2.path", "xswu/HPSv2", "HPS_v2.1_compressed.pt")
    for part in ("rewards.hpsv2.path = xswu/HPSv2", "HPS_v2.1_compressed.pt", "https://huggingface.co/xswu/HPSv2"):
        assert part in str(caught.value)
    with pytest.raises(MissingWeights, match=r"rewards.pickscore.path = .*PickScore_v1: found no CLIPModel"):
        from_pretrained(CLIPModel, "rewards.pickscore.path", "yuvalkirstain/PickScore_v1")


def test_both_formats_are_read_wrapped_or_not(tmp_path: Path) -> None:
    weights = {"a": torch.arange(3.0)}
    torch.save(weights, tmp_path / "plain.pt")
    torch.save({"epoch": 1, "state_dict": weights}, tmp_path / "wrapped.pt")
    save_file(weights, tmp_path / "safe.safetensors")
    for name in ("plain.pt", "wrapped.pt", "safe.safetensors"):
        assert torch.equal(read(tmp_path / name)["a"], weights["a"])


class Wicked:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    torch.save({"state_dict": Wicked(tmp_path / "executed")}, tmp_path / "model.pt")
    with pytest.raises(Exception, match="weights_only"):
        read(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()
