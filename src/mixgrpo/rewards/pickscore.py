"""PickScore (Kirstain et al., arXiv 2305.01569): exp(logit_scale) * cosine of a ViT-H/14 CLIP tuned on choices."""

import torch
from torch import nn

from .model_reward import Dtype, ModelReward, RestOn


def pickscore(
    *,
    path: str = "yuvalkirstain/PickScore_v1",
    tokenizer: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """Usually 18 to 24: the published score. Flow-GRPO divides it by 26, MixGRPO takes (score - 18) / 8."""

    def load(dtype: torch.dtype) -> nn.Module:
        from .clip_scoring import ClipCosine, load_clip, load_tokenizer
        from .preprocessing import cropped_low

        network = load_clip("rewards.pickscore.path", path)
        scale = network.logit_scale.exp().item()
        words = load_tokenizer("rewards.pickscore.tokenizer", tokenizer)
        return ClipCosine(network.to(dtype), words, cropped_low, scale=scale)

    return ModelReward("pickscore", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)
