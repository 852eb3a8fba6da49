"""Find and read weights."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import BertTokenizer, CLIPTokenizer, Qwen2Tokenizer

from mixgrpo.rewards.networks.aesthetic_predictor import aesthetic
from mixgrpo.rewards.networks.clipscore import clipscore
from mixgrpo.rewards.networks.hpsv2 import hpsv2
from mixgrpo.rewards.networks.imagereward import imagereward
from mixgrpo.rewards.networks.pickscore import pickscore
from mixgrpo.rewards.networks.weights import MissingWeights, Source, read_weights


def test_a_path_may_be_the_file_or_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({}, file)
    assert Source("rewards.x.path", str(file), "me/x").file("another.pt") == file
    assert Source("rewards.x.path", str(tmp_path), "me/x").file("model.pt") == file
    with pytest.raises(MissingWeights, match=r"found no other.pt there.* https://huggingface.co/me/x and set rewards"):
        Source("rewards.x.path", str(tmp_path), "me/x").file("other.pt")


OFFLINE = {
    "rewards.hpsv2.path = xswu/HPSv2: found no HPS_v2.1_compressed.pt": hpsv2(device="cpu"),
    "rewards.pickscore.path = yuvalkirstain/PickScore_v1: found no CLIPModel": pickscore(device="cpu"),
    "rewards.imagereward.path = THUDM/ImageReward: found no ImageReward.pt": imagereward(device="cpu"),
    "rewards.clipscore.path = openai/clip-vit-large-patch14: found no CLIPModel": clipscore(device="cpu"),
    "rewards.aesthetic.path = openai/clip-vit-large-patch14: found no CLIPModel": aesthetic(device="cpu"),
}


@pytest.mark.parametrize("message", OFFLINE)
def test_the_error_names_the_missing_file_its_repository_and_the_option(message: str) -> None:
    with pytest.raises(MissingWeights, match=re.escape(message)):
        OFFLINE[message]([Image.new("RGB", (8, 8))], ["a prompt"])


@pytest.mark.parametrize("kind", [CLIPTokenizer, BertTokenizer, Qwen2Tokenizer])
def test_a_missing_tokenizer_is_an_error(kind: Any, tmp_path: Path) -> None:
    for path in ("me/x", str(tmp_path)):
        with pytest.raises(MissingWeights, match=rf"rewards.x.tokenizer = {path}: found no tokenizer.json there"):
            Source("rewards.x.tokenizer", path, "me/x").tokenizer(kind)


def test_safetensors_and_pt_files_are_read_plain_or_nested(tmp_path: Path) -> None:
    weights = {"a": torch.arange(3.0)}
    torch.save(weights, tmp_path / "plain.pt")
    torch.save({"epoch": 1, "state_dict": weights}, tmp_path / "nested.pt")
    save_file(weights, tmp_path / "safe.safetensors")
    for name in ("plain.pt", "nested.pt", "safe.safetensors"):
        assert torch.equal(read_weights(tmp_path / name)["a"], weights["a"])


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    torch.save({"state_dict": RunsCode(tmp_path / "executed")}, tmp_path / "model.pt")
    with pytest.raises(Exception, match="weights_only"):
        read_weights(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()
