"""What every model reward does: loads late, scores in batches, one thread at a time, and goes back to rest."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mixgrpo.rewards.networks.network_reward import ModelReward


class Widths(nn.Module):
    """Scores a picture by its width; remembers where it was sent and how many pictures came at once."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100, dtype=dtype))
        self.sent_to: list[str] = []
        self.batches: list[int] = []
        self.busy = False

    def to(self, device: Any) -> "Widths":  # type: ignore[override]
        self.sent_to.append(str(device))
        return self

    def forward(self, images: list[Image.Image], prompts: list[str]) -> Tensor:
        assert not self.busy
        self.busy = True
        assert torch.is_inference_mode_enabled()
        assert not self.training
        self.batches.append(len(images))
        if "refuse" in prompts:
            raise ValueError("refused")
        for _ in range(20):
            time.sleep(0)  # lets another thread in, if one may
        scores = torch.tensor([float(image.width) for image in images])
        self.busy = False
        return scores


def make(loaded: list[Widths], **options: Any) -> ModelReward:
    def load(dtype: torch.dtype) -> nn.Module:
        loaded.append(Widths(dtype))
        return loaded[-1]

    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "rest_on": "device", "batch": 4}
    return ModelReward("widths", load, **settings | options)


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (i + 1, 1)) for i in range(count)]


def test_it_loads_once_at_the_first_scoring_in_the_dtype_asked_for() -> None:
    loaded: list[Widths] = []
    reward = make(loaded, dtype="bfloat16")
    assert (loaded, reward.memory) == ([], 0)
    for _ in range(2):
        assert reward(pictures(2), ["a", "b"], kind=[None, None]) == [1, 2]
    assert len(loaded) == 1
    assert reward.memory == 200


def test_batches_bound_what_is_scored_at_once() -> None:
    loaded: list[Widths] = []
    assert make(loaded, batch=4)(pictures(10), ["a"] * 10) == [*range(1, 11)]
    assert loaded[0].batches == [4, 4, 2]


def test_it_rests_where_it_is_told() -> None:
    loaded: list[Widths] = []
    make(loaded, device="cuda:1", rest_on="cpu")(pictures(1), ["a"])
    make(loaded, device="cuda:1", rest_on="device")(pictures(1), ["a"])
    assert [network.sent_to for network in loaded] == [["cuda:1", "cpu"], ["cuda:1", "cuda:1"]]


def test_it_goes_to_rest_even_if_scoring_fails() -> None:
    loaded: list[Widths] = []
    with pytest.raises(ValueError, match="refused"):
        make(loaded, device="cuda:1", rest_on="cpu")(pictures(1), ["refuse"])
    assert loaded[0].sent_to == ["cuda:1", "cpu"]


def test_threads_score_one_after_the_other() -> None:
    loaded: list[Widths] = []
    reward = make(loaded)
    with ThreadPoolExecutor(8) as pool:
        scores = list(pool.map(lambda count: reward(pictures(count), ["a"] * count), range(1, 33)))
    assert scores == [[*range(1, count + 1)] for count in range(1, 33)]
    assert len(loaded) == 1


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rewards.widths.batch = 0: must be at least 1"):
        make([], batch=0)
