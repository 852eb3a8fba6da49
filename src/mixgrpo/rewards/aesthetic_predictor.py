"""LAION's aesthetic predictor v2 (sac+logos+ava1-l14-linearMSE): a linear head on CLIP ViT-L/14. It reads no prompt."""

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from .model_reward import Dtype, ModelReward, RestOn
from .preprocessing import cropped


def aesthetic(
    *,
    path: str = "openai/clip-vit-large-patch14",
    head: str = "trl-lib/ddpo-aesthetic-predictor",
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """Usually 4 to 7, of 10. `head`: the published .pth, its folder or a repository that has it."""

    def load(dtype: torch.dtype) -> nn.Module:
        from .clip_scoring import load_clip
        from .linear_head import linear_head
        from .weights import published_file, read

        network = load_clip("rewards.aesthetic.path", path).to(dtype)
        weights = read(published_file("rewards.aesthetic.head", head, "aesthetic-model.pth"))
        return _Predictor(network, linear_head(weights))

    return ModelReward("aesthetic", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)


class _Predictor(nn.Module):
    def __init__(self, network: Any, head: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        from .clip_scoring import image_embeddings

        scores: Tensor = self.head(image_embeddings(self.network, images, cropped))
        return scores.squeeze(-1)
