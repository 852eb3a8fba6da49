"""What the preflight finds out, beside what whole runs show."""

import torch
from PIL import Image
from torch import Tensor, nn

from mixgrpo.preflight import preflight
from mixgrpo.rewards.model_reward import ModelReward
from runs import brightness, small_trainer


class Brightness(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2**28, dtype=torch.bfloat16, device="meta"))  # half a GiB, on paper

    def to(self, device: torch.device) -> "Brightness":  # type: ignore[override]
        return self

    def forward(self, images: list[Image.Image], prompts: list[str]) -> Tensor:
        return torch.tensor(brightness(images, prompts))


def test_it_says_what_a_reward_that_is_a_network_takes_and_where() -> None:
    reward = ModelReward(
        "brightness", lambda dtype: Brightness(), device="cpu", dtype="bfloat16", rest_on="device", batch=8
    )
    details = {finding.what: finding.detail for finding in preflight(small_trainer(reward))}
    assert details["the rewards' networks are loaded"] == "brightness 0.5 GiB on cpu"
