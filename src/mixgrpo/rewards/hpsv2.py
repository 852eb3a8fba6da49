"""HPS v2.1 (Wu et al., arXiv 2306.09341): the cosine of a ViT-H/14 CLIP that was tuned on human choices."""

import torch
from torch import nn

from .model_reward import Dtype, ModelReward, RestOn


def hpsv2(
    *,
    path: str = "xswu/HPSv2",
    tokenizer: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """Usually 0.2 to 0.35. `path`: the file, its folder or its repository on the hub."""

    def load(dtype: torch.dtype) -> nn.Module:
        from .clip_scoring import ClipCosine, load_tokenizer, mended
        from .open_clip import clip_of
        from .preprocessing import letterboxed
        from .weights import published_file, read

        weights = read(published_file("rewards.hpsv2.path", path, "HPS_v2.1_compressed.pt"))
        network = clip_of(weights, vision_head=80, text_head=64, activation="gelu").to(dtype)
        words = load_tokenizer("rewards.hpsv2.tokenizer", tokenizer)
        return ClipCosine(network, words, letterboxed, clean=mended)

    return ModelReward("hpsv2", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)
