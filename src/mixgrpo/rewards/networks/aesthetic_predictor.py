"""LAION's aesthetic predictor v2 (sac+logos+ava1-l14-linearMSE): a linear head on CLIP ViT-L/14. Ignores the prompt."""

from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY = "openai/clip-vit-large-patch14"
HEAD_REPOSITORY = "trl-lib/ddpo-aesthetic-predictor"  # TRL's copy of the published .pth on the hub


def aesthetic(*, path: str = REPOSITORY, head: str = HEAD_REPOSITORY, **placement: Unpack[Placement]) -> NetworkReward:
    """A score from 1 to 10. `head`: the .pth file, its folder or its hub repository. Weights: 1.6 GiB in float32."""

    def load(dtype: "torch.dtype") -> "nn.Module":
        import torch
        from transformers import CLIPModel

        from .clip_scoring import HeadOnClip
        from .linear_head import linear_head
        from .weights import Source, read_weights

        network = Source("rewards.aesthetic.path", path, REPOSITORY).pretrained(CLIPModel, dtype=torch.float32)
        weights = read_weights(Source("rewards.aesthetic.head", head, HEAD_REPOSITORY).file("aesthetic-model.pth"))
        return HeadOnClip(network.to(dtype), linear_head(weights))

    return NetworkReward("aesthetic", load, **placement)
