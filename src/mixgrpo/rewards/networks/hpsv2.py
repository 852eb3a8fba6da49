"""HPS v2.1 (Wu et al., arXiv 2306.09341): the cosine of a ViT-H/14 CLIP that was tuned on human choices."""

import torch
from torch import nn

from .network_reward import Dtype, ModelReward, RestOn

HOME = "xswu/HPSv2"
TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def hpsv2(
    *,
    path: str = HOME,
    tokenizer: str = TOKENIZER,
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """A cosine. `path`: the file, its folder or its repository on the hub; `tokenizer`: any of CLIP's, for its words.
    Weights: 3.7 GiB in float32.
    """

    def load(dtype: torch.dtype) -> nn.Module:
        from transformers import CLIPTokenizer

        from .clip_scoring import ClipCosine, mended
        from .open_clip import clip_of
        from .preprocessing import letterboxed
        from .weights import Source, read

        weights = read(Source("rewards.hpsv2.path", path, HOME).file("HPS_v2.1_compressed.pt"))
        network = clip_of(weights, vision_head=80, text_head=64, activation="gelu").to(dtype)
        words = Source("rewards.hpsv2.tokenizer", tokenizer, TOKENIZER).tokenizer(CLIPTokenizer)
        return ClipCosine(network, words, letterboxed, clean=mended)

    return ModelReward("hpsv2", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)
