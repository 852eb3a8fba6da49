"""LAION's aesthetic predictor v2 (sac+logos+ava1-l14-linearMSE): a linear head on CLIP ViT-L/14. Ignores the prompt."""

from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY = "openai/clip-vit-large-patch14"
# TRL's copy of the published .pth on the hub
HEAD_REPOSITORY, HEAD = "trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth"


def aesthetic(*, path: str = REPOSITORY, head: str = HEAD_REPOSITORY, **placement: Unpack[Placement]) -> NetworkReward:
    """LAION's aesthetic predictor on CLIP ViT-L/14, from 1 to 10. `head`: the .pth file, its folder or its hub
    repository. Weights: 1.6 GiB in float32.
    """
    from .weights import CONFIG, Source

    source = Source("rewards.aesthetic.path", path, REPOSITORY)
    head_source = Source("rewards.aesthetic.head", head, HEAD_REPOSITORY)

    def check() -> None:
        source.check(CONFIG)
        head_source.check(HEAD)

    def load(dtype: "torch.dtype") -> "nn.Module":
        import torch
        from transformers import CLIPModel

        from .clip_scoring import HeadOnClip
        from .linear_head import linear_head
        from .weights import read_weights

        network = source.pretrained(CLIPModel, dtype=torch.float32)
        weights = read_weights(head_source.file(HEAD))
        return HeadOnClip(network.to(dtype), linear_head(weights))

    return NetworkReward("aesthetic", load, check=check, **placement)
