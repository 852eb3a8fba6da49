"""ImageReward (Xu et al., arXiv 2304.05977): a BLIP that encodes the prompt with attention to the image, and a head."""

from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY = "THUDM/ImageReward"
TOKENIZER_REPOSITORY = "google-bert/bert-base-uncased"


def imagereward(
    *, path: str = REPOSITORY, tokenizer: str = TOKENIZER_REPOSITORY, **placement: Unpack[Placement]
) -> NetworkReward:
    """Normalised with the published mean and standard deviation. `path`: the weights file, its folder or its hub
    repository. Weights: 1.7 GiB in float32.
    """

    def load(dtype: "torch.dtype") -> "nn.Module":
        from transformers import BertTokenizer

        from .blip import BlipReward
        from .weights import Source, read_weights

        weights = read_weights(Source("rewards.imagereward.path", path, REPOSITORY).file("ImageReward.pt"))
        bert_tokenizer = Source("rewards.imagereward.tokenizer", tokenizer, TOKENIZER_REPOSITORY).tokenizer(
            BertTokenizer
        )
        return BlipReward(weights, bert_tokenizer, dtype)

    return NetworkReward("imagereward", load, **placement)
