"""LAION's aesthetic predictor v2 (sac+logos+ava1-l14-linearMSE): a linear head on CLIP ViT-L/14. It reads no prompt."""

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from .network_reward import Dtype, ModelReward, RestOn
from .preprocessing import cropped

HOME = "openai/clip-vit-large-patch14"
HEAD = "trl-lib/ddpo-aesthetic-predictor"  # the published .pth, as TRL keeps it on the hub


def aesthetic(
    *,
    path: str = HOME,
    head: str = HEAD,
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """On a scale of 1 to 10. `head`: the .pth, its folder or a repository with it. Weights: 1.6 GiB in float32."""

    def load(dtype: torch.dtype) -> nn.Module:
        from transformers import CLIPModel

        from .linear_head import linear_head
        from .weights import Source, read

        network = Source("rewards.aesthetic.path", path, HOME).pretrained(CLIPModel, dtype=torch.float32)
        weights = read(Source("rewards.aesthetic.head", head, HEAD).file("aesthetic-model.pth"))
        return _Predictor(network.to(dtype), linear_head(weights))

    return ModelReward("aesthetic", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)


class _Predictor(nn.Module):
    def __init__(self, network: Any, head: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        from .clip_scoring import image_embeddings

        scores: Tensor = self.head(image_embeddings(self.network, images, cropped))
        return scores.squeeze(-1)
