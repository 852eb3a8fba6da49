"""ImageReward (Xu et al., arXiv 2304.05977): BLIP reads the prompt with the picture in view, a head scores it."""

import torch
from torch import nn

from .network_reward import Dtype, ModelReward, RestOn

HOME = "THUDM/ImageReward"
TOKENIZER = "google-bert/bert-base-uncased"


def imagereward(
    *,
    path: str = HOME,
    tokenizer: str = TOKENIZER,
    device: str = "auto",
    dtype: Dtype = "float32",
    rest_on: RestOn = "device",
    batch: int = 16,
) -> ModelReward:
    """Normalised with the published mean and deviation. `path`: the file, its folder or its repository.
    Weights: 1.7 GiB in float32.
    """

    def load(dtype: torch.dtype) -> nn.Module:
        from transformers import BertTokenizer

        from .blip import BlipReward
        from .weights import Source, read

        weights = read(Source("rewards.imagereward.path", path, HOME).file("ImageReward.pt"))
        words = Source("rewards.imagereward.tokenizer", tokenizer, TOKENIZER).tokenizer(BertTokenizer)
        return BlipReward(weights, words, dtype)

    return ModelReward("imagereward", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)
