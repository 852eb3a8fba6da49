"""CLIP score: the plain cosine of picture and text.

So MixGRPO and ImageReward publish it. CLIPScore as first published (Hessel et al., arXiv 2104.08718) is
2.5 * max(cosine, 0) on texts that begin with "A photo depicts"; torchmetrics prints 100 * max(cosine, 0).
"""

import torch
from torch import nn

from .network_reward import Dtype, ModelReward, RestOn

HOME = "openai/clip-vit-large-patch14"


def clipscore(
    *,
    path: str = HOME,
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """`path`: any CLIP in transformers' format, with its tokenizer. Weights: 1.6 GiB in float32."""

    def load(dtype: torch.dtype) -> nn.Module:
        from transformers import CLIPModel, CLIPTokenizer

        from .clip_scoring import ClipCosine, mended
        from .preprocessing import cropped
        from .weights import Source

        source = Source("rewards.clipscore.path", path, HOME)
        network = source.pretrained(CLIPModel, dtype=torch.float32).to(dtype)
        words = source.tokenizer(CLIPTokenizer)
        return ClipCosine(network, words, cropped, clean=mended)

    return ModelReward("clipscore", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)
