"""HPS v2.1 (Wu et al., arXiv 2306.09341): the cosine similarity of a ViT-H/14 CLIP tuned on human choices."""

from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY, WEIGHTS = "xswu/HPSv2", "HPS_v2.1_compressed.pt"
TOKENIZER_REPOSITORY = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


def hpsv2(
    *, path: str = REPOSITORY, tokenizer: str = TOKENIZER_REPOSITORY, **placement: Unpack[Placement]
) -> NetworkReward:
    """HPS v2.1, OpenCLIP ViT-H/14: a cosine. `path`: the weights file, its folder or its hub repository. `tokenizer`:
    any CLIP tokenizer. Weights: 3.7 GiB in float32.
    """
    from .weights import TOKENIZER, Source

    source = Source("rewards.hpsv2.path", path, REPOSITORY)
    tokenizer_source = Source("rewards.hpsv2.tokenizer", tokenizer, TOKENIZER_REPOSITORY)

    def check() -> None:
        from .clip_scoring import clean_text

        clean_text("")  # needs a package
        source.check(WEIGHTS)
        tokenizer_source.check(TOKENIZER)

    def load(dtype: "torch.dtype") -> "nn.Module":
        from transformers import CLIPTokenizer

        from .clip_scoring import ClipCosine, clean_text
        from .open_clip import build_clip
        from .preprocessing import letterbox
        from .weights import read_weights

        weights = read_weights(source.file(WEIGHTS))
        network = build_clip(weights, vision_head_dim=80, text_head_dim=64, activation="gelu").to(dtype)
        clip_tokenizer = tokenizer_source.tokenizer(CLIPTokenizer)
        return ClipCosine(network, clip_tokenizer, letterbox, clean=clean_text)

    return NetworkReward("hpsv2", load, check=check, **placement)
