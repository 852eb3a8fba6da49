"""PickScore (Kirstain et al., arXiv 2305.01569): exp(logit_scale) * cosine of a ViT-H/14 CLIP tuned on choices."""

import torch
from torch import nn

from .network_reward import Dtype, ModelReward, RestOn

HOME = "yuvalkirstain/PickScore_v1"
TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def pickscore(
    *,
    path: str = HOME,
    tokenizer: str = TOKENIZER,
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """The published score; Flow-GRPO divides it by 26, MixGRPO takes (score - 18) / 8. Weights: 3.7 GiB in float32."""

    def load(dtype: torch.dtype) -> nn.Module:
        from transformers import CLIPModel, CLIPTokenizer

        from .clip_scoring import ClipCosine
        from .preprocessing import cropped_low
        from .weights import Source

        network = Source("rewards.pickscore.path", path, HOME).pretrained(CLIPModel, dtype=torch.float32)
        scale = network.logit_scale.exp().item()
        words = Source("rewards.pickscore.tokenizer", tokenizer, TOKENIZER).tokenizer(CLIPTokenizer)
        return ClipCosine(network.to(dtype), words, cropped_low, scale=scale)

    return ModelReward("pickscore", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)
