"""ImageReward's checkpoint on transformers' BLIP: the picture encoder, the text encoder that looks at it, the head."""

import re

import torch
from PIL.Image import Image
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from .linear_head import linear_head
from .preprocessing import cropped
from .weights import Weights, depth, filled, under

_MEAN, _STD = 0.16717362830052426, 1.0333394966054072  # as published: the score is (output - mean) / std
_LENGTH = 35  # tokens a prompt is padded and cut to
_HEAD = 64  # the width of an attention head, in both encoders

_VISION_NAMES = {
    r"^cls_token$": "embeddings.class_embedding",
    r"^pos_embed$": "embeddings.position_embedding",
    r"^patch_embed\.proj\.": "embeddings.patch_embedding.",
    r"^norm\.": "post_layernorm.",
    r"^blocks\.": "encoder.layers.",
    r"\.norm([12])\.": r".layer_norm\1.",
    r"\.attn\.qkv\.": ".self_attn.qkv.",
    r"\.attn\.proj\.": ".self_attn.projection.",
}


class BlipReward(nn.Module):
    def __init__(self, weights: Weights, tokenizer: BertTokenizer, dtype: torch.dtype) -> None:
        super().__init__()
        self.vision = _vision(under("blip.visual_encoder.", weights)).to(dtype)
        self.text = _text(under("blip.text_encoder.", weights)).to(dtype)
        self.head = linear_head(under("mlp.", weights))
        self._tokenizer = tokenizer

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        device = self.vision.device
        pixels = cropped(images, self.vision.config.image_size).to(device, self.vision.dtype)
        tokens = self._tokenizer(
            prompts, padding="max_length", truncation=True, max_length=_LENGTH, return_tensors="pt"
        ).to(device)
        read = self.text(
            tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=self.vision(pixels).last_hidden_state,
        )
        scores: Tensor = self.head(read.last_hidden_state[:, 0].float())
        return (scores.squeeze(-1) - _MEAN) / _STD


def _vision(weights: Weights) -> BlipVisionModel:
    width, patch = weights["norm.weight"].numel(), weights["patch_embed.proj.weight"].shape[-1]
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth("blocks", weights),
        num_attention_heads=width // _HEAD,
        image_size=round((weights["pos_embed"].shape[1] - 1) ** 0.5) * patch,
        patch_size=patch,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
    )
    renamed = {}
    for name, tensor in weights.items():
        for pattern, replacement in _VISION_NAMES.items():
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    network: BlipVisionModel = filled(BlipVisionModel, config, renamed)
    return network


def _text(weights: Weights) -> BlipTextModel:
    """The names are BLIP's own, which transformers kept."""
    vocabulary, width = weights["embeddings.word_embeddings.weight"].shape
    config = BlipTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        encoder_hidden_size=weights["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=len(weights["encoder.layer.0.intermediate.dense.weight"]),
        num_hidden_layers=depth("encoder.layer", weights),
        num_attention_heads=width // _HEAD,
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        hidden_act="gelu",
        layer_norm_eps=1e-12,
    )
    learned = {name: tensor for name, tensor in weights.items() if name != "embeddings.position_ids"}
    network: BlipTextModel = filled(BlipTextModel, config, learned, add_pooling_layer=False)
    return network
