"""What all network rewards do: load at the first call, score in batches, one thread at a time, offload afterwards."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mixgrpo.rewards.networks.network_reward import NetworkReward


class Widths(nn.Module):
    """Scores an image by its width. Records the devices it was moved to and the batch sizes."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100, dtype=dtype))
        self.moved_to: list[str] = []
        self.batches: list[int] = []
        self.busy = False

    def to(self, device: Any) -> "Widths":  # type: ignore[override]
        self.moved_to.append(str(device))
        return self

    def forward(self, images: list[Image.Image], prompts: list[str]) -> Tensor:
        assert not self.busy
        self.busy = True
        assert torch.is_inference_mode_enabled()
        assert not self.training
        self.batches.append(len(images))
        if "fail" in prompts:
            raise ValueError("failed")
        for _ in range(20):
            time.sleep(0)  # gives other threads the chance to call
        scores = torch.tensor([float(image.width) for image in images])
        self.busy = False
        return scores


def make(loaded: list[Widths], **options: Any) -> NetworkReward:
    def load(dtype: torch.dtype) -> nn.Module:
        loaded.append(Widths(dtype))
        return loaded[-1]

    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "rest_on": "device", "batch": 4}
    return NetworkReward("widths", load, **settings | options)


def images(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (i + 1, 1)) for i in range(count)]


def test_the_network_loads_once_at_the_first_call_in_the_given_dtype() -> None:
    loaded: list[Widths] = []
    reward = make(loaded, dtype="bfloat16")
    assert (loaded, reward.memory) == ([], 0)
    for _ in range(2):
        assert reward(images(2), ["a", "b"], kind=[None, None]) == [1, 2]
    assert len(loaded) == 1
    assert reward.memory == 200


def test_images_are_scored_in_batches() -> None:
    loaded: list[Widths] = []
    assert make(loaded, batch=4)(images(10), ["a"] * 10) == [*range(1, 11)]
    assert loaded[0].batches == [4, 4, 2]


def test_the_network_returns_to_the_device_given_by_rest_on() -> None:
    loaded: list[Widths] = []
    make(loaded, device="cuda:1", rest_on="cpu")(images(1), ["a"])
    make(loaded, device="cuda:1", rest_on="device")(images(1), ["a"])
    assert [network.moved_to for network in loaded] == [["cuda:1", "cpu"], ["cuda:1", "cuda:1"]]


def test_the_network_is_offloaded_even_if_scoring_fails() -> None:
    loaded: list[Widths] = []
    with pytest.raises(ValueError, match="failed"):
        make(loaded, device="cuda:1", rest_on="cpu")(images(1), ["fail"])
    assert loaded[0].moved_to == ["cuda:1", "cpu"]


def test_threads_score_one_at_a_time() -> None:
    loaded: list[Widths] = []
    reward = make(loaded)
    with ThreadPoolExecutor(8) as pool:
        scores = list(pool.map(lambda count: reward(images(count), ["a"] * count), range(1, 33)))
    assert scores == [[*range(1, count + 1)] for count in range(1, 33)]
    assert len(loaded) == 1


def test_a_batch_size_of_0_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"rewards.widths.batch = 0: must be at least 1"):
        make([], batch=0)
