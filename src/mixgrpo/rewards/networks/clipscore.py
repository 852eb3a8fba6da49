"""CLIP score: the plain cosine similarity of image and text.

MixGRPO and ImageReward use this definition. The original CLIPScore (Hessel et al., arXiv 2104.08718) is
2.5 * max(cosine, 0) on texts that begin with "A photo depicts"; torchmetrics reports 100 * max(cosine, 0).
"""

from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY = "openai/clip-vit-large-patch14"


def clipscore(*, path: str = REPOSITORY, **placement: Unpack[Placement]) -> NetworkReward:
    """Cosine of image and prompt by CLIP ViT-L/14. `path`: any CLIP in the format of transformers, with its tokenizer.
    Weights: 1.6 GiB in float32.
    """
    from .weights import CONFIG, TOKENIZER, Source

    source = Source("rewards.clipscore.path", path, REPOSITORY)

    def check() -> None:
        from .clip_scoring import clean_text

        clean_text("")  # needs a package
        source.check(CONFIG)
        source.check(TOKENIZER)

    def load(dtype: "torch.dtype") -> "nn.Module":
        import torch
        from transformers import CLIPModel, CLIPTokenizer

        from .clip_scoring import ClipCosine, clean_text
        from .preprocessing import centre_crop

        network = source.pretrained(CLIPModel, dtype=torch.float32).to(dtype)
        clip_tokenizer = source.tokenizer(CLIPTokenizer)
        return ClipCosine(network, clip_tokenizer, centre_crop, clean=clean_text)

    return NetworkReward("clipscore", load, check=check, **placement)
