"""ImageReward's checkpoint as a BLIP of transformers: image encoder, text encoder with cross-attention, score head."""

import re

import torch
from PIL.Image import Image
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from .linear_head import linear_head
from .preprocessing import centre_crop
from .weights import Weights, count_blocks, load_exact, strip_prefix

_MEAN, _STD = 0.16717362830052426, 1.0333394966054072  # as published: the score is (output - mean) / std
_PROMPT_TOKENS = 35  # prompts are padded or truncated to this length
_HEAD_DIM = 64  # width of an attention head, in both encoders

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
        self.vision = _vision(strip_prefix("blip.visual_encoder.", weights)).to(dtype)
        self.text = _text(strip_prefix("blip.text_encoder.", weights)).to(dtype)
        self.head = linear_head(strip_prefix("mlp.", weights))
        self._tokenizer = tokenizer

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        device = self.vision.device
        pixels = centre_crop(images, self.vision.config.image_size).to(device, self.vision.dtype)
        tokens = self._tokenizer(
            prompts, padding="max_length", truncation=True, max_length=_PROMPT_TOKENS, return_tensors="pt"
        ).to(device)
        states = self.text(
            tokens.input_ids,
            attention_mask=tokens.attention_mask,
            encoder_hidden_states=self.vision(pixels).last_hidden_state,
        ).last_hidden_state
        scores: Tensor = self.head(states[:, 0].float())
        return (scores.squeeze(-1) - _MEAN) / _STD


def _vision(weights: Weights) -> BlipVisionModel:
    width, patch = weights["norm.weight"].numel(), weights["patch_embed.proj.weight"].shape[-1]
    config = BlipVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=count_blocks("blocks", weights),
        num_attention_heads=width // _HEAD_DIM,
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
    network: BlipVisionModel = load_exact(BlipVisionModel, config, renamed)
    return network


def _text(weights: Weights) -> BlipTextModel:
    """transformers has kept BLIP's own parameter names here, so none is renamed."""
    vocabulary, width = weights["embeddings.word_embeddings.weight"].shape
    config = BlipTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        encoder_hidden_size=weights["encoder.layer.0.crossattention.self.key.weight"].shape[1],
        intermediate_size=len(weights["encoder.layer.0.intermediate.dense.weight"]),
        num_hidden_layers=count_blocks("encoder.layer", weights),
        num_attention_heads=width // _HEAD_DIM,
        max_position_embeddings=len(weights["embeddings.position_embeddings.weight"]),
        hidden_act="gelu",
        layer_norm_eps=1e-12,
    )
    parameters = {name: tensor for name, tensor in weights.items() if name != "embeddings.position_ids"}
    network: BlipTextModel = load_exact(BlipTextModel, config, parameters, add_pooling_layer=False)
    return network
