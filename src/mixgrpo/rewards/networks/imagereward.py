"""ImageReward (Xu et al., arXiv 2304.05977): a BLIP that encodes the prompt with attention to the image, and a head."""

from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY, WEIGHTS = "THUDM/ImageReward", "ImageReward.pt"
TOKENIZER_REPOSITORY = "google-bert/bert-base-uncased"


def imagereward(
    *, path: str = REPOSITORY, tokenizer: str = TOKENIZER_REPOSITORY, **placement: Unpack[Placement]
) -> NetworkReward:
    """ImageReward, BLIP ViT-L and BERT, normalised with the published mean and standard deviation. `path`: the weights
    file, its folder or its hub repository. Weights: 1.7 GiB in float32.
    """
    from .weights import TOKENIZER, Source

    source = Source("rewards.imagereward.path", path, REPOSITORY)
    tokenizer_source = Source("rewards.imagereward.tokenizer", tokenizer, TOKENIZER_REPOSITORY)

    def check() -> None:
        source.check(WEIGHTS)
        tokenizer_source.check(TOKENIZER)

    def load(dtype: "torch.dtype") -> "nn.Module":
        from transformers import BertTokenizer

        from .blip import BlipReward
        from .weights import read_weights

        weights = read_weights(source.file(WEIGHTS))
        return BlipReward(weights, tokenizer_source.tokenizer(BertTokenizer), dtype)

    return NetworkReward("imagereward", load, check=check, **placement)
