"""PickScore (Kirstain et al., arXiv 2305.01569): exp(logit_scale) * cosine of a ViT-H/14 CLIP, tuned on choices."""

from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY = "yuvalkirstain/PickScore_v1"
TOKENIZER_REPOSITORY = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def pickscore(
    *, path: str = REPOSITORY, tokenizer: str = TOKENIZER_REPOSITORY, **placement: Unpack[Placement]
) -> NetworkReward:
    """PickScore, CLIP ViT-H/14: the published score. Flow-GRPO uses score / 26, MixGRPO (score - 18) / 8. Weights: 3.7
    GiB in float32.
    """
    from .weights import CONFIG, TOKENIZER, Source

    source = Source("rewards.pickscore.path", path, REPOSITORY)
    tokenizer_source = Source("rewards.pickscore.tokenizer", tokenizer, TOKENIZER_REPOSITORY)

    def check() -> None:
        source.check(CONFIG)
        tokenizer_source.check(TOKENIZER)

    def load(dtype: "torch.dtype") -> "nn.Module":
        import torch
        from transformers import CLIPModel, CLIPTokenizer

        from .clip_scoring import ClipCosine
        from .preprocessing import centre_crop_floor

        network = source.pretrained(CLIPModel, dtype=torch.float32)
        scale = network.logit_scale.exp().item()
        clip_tokenizer = tokenizer_source.tokenizer(CLIPTokenizer)
        return ClipCosine(network.to(dtype), clip_tokenizer, centre_crop_floor, scale=scale)

    return NetworkReward("pickscore", load, check=check, **placement)
