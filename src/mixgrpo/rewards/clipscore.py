"""CLIP score: the plain cosine of picture and text.

So MixGRPO and ImageReward publish it. CLIPScore as first published (Hessel et al., arXiv 2104.08718) is
2.5 * max(cosine, 0) on texts that begin with "A photo depicts"; torchmetrics prints 100 * max(cosine, 0).
"""

import torch
from torch import nn

from .model_reward import Dtype, ModelReward, RestOn


def clipscore(
    *,
    path: str = "openai/clip-vit-large-patch14",
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """Usually 0.15 to 0.35. `path`: any CLIP in transformers' format, with its tokenizer."""

    def load(dtype: torch.dtype) -> nn.Module:
        from .clip_scoring import ClipCosine, load_clip, load_tokenizer, mended
        from .preprocessing import cropped

        network = load_clip("rewards.clipscore.path", path).to(dtype)
        words = load_tokenizer("rewards.clipscore.path", path)
        return ClipCosine(network, words, cropped, clean=mended)

    return ModelReward("clipscore", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)
