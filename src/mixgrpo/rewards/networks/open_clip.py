"""Load OpenCLIP checkpoints into the CLIP of transformers: the same network with other parameter names.

OpenCLIP itself needs torchvision, whose build must match torch's. This module needs neither.
"""

import re

from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from .weights import Weights, count_blocks, load_exact

_NAMES = {
    r"^visual\.class_embedding$": "vision_model.embeddings.class_embedding",
    r"^visual\.positional_embedding$": "vision_model.embeddings.position_embedding.weight",
    r"^visual\.conv1\.": "vision_model.embeddings.patch_embedding.",
    r"^visual\.ln_pre\.": "vision_model.pre_layrnorm.",
    r"^visual\.ln_post\.": "vision_model.post_layernorm.",
    r"^visual\.proj$": "visual_projection.weight",
    r"^visual\.transformer\.resblocks\.": "vision_model.encoder.layers.",
    r"^token_embedding\.": "text_model.embeddings.token_embedding.",
    r"^positional_embedding$": "text_model.embeddings.position_embedding.weight",
    r"^ln_final\.": "text_model.final_layer_norm.",
    r"^text_projection$": "text_projection.weight",
    r"^transformer\.resblocks\.": "text_model.encoder.layers.",
    r"\.ln_([12])\.": r".layer_norm\1.",
    r"\.attn\.": ".self_attn.",
    r"\.mlp\.c_fc\.": ".mlp.fc1.",
    r"\.mlp\.c_proj\.": ".mlp.fc2.",
}


def build_clip(weights: Weights, *, vision_head_dim: int, text_head_dim: int, activation: str) -> CLIPModel:
    """The widths of the attention heads are arguments because no tensor's shape reveals them."""
    text_width, vision_width = weights["ln_final.weight"].numel(), weights["visual.ln_pre.weight"].numel()
    vocabulary, patch = len(weights["token_embedding.weight"]), weights["visual.conv1.weight"].shape[-1]
    side = round((len(weights["visual.positional_embedding"]) - 1) ** 0.5)
    common = {"hidden_act": activation, "projection_dim": weights["text_projection"].shape[1]}
    config = CLIPConfig(
        projection_dim=common["projection_dim"],
        text_config={
            **common,
            "vocab_size": vocabulary,
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "num_hidden_layers": count_blocks("transformer.resblocks", weights),
            "num_attention_heads": text_width // text_head_dim,
            "max_position_embeddings": len(weights["positional_embedding"]),
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
        },
        vision_config={
            **common,
            "hidden_size": vision_width,
            "intermediate_size": 4 * vision_width,
            "num_hidden_layers": count_blocks("visual.transformer.resblocks", weights),
            "num_attention_heads": vision_width // vision_head_dim,
            "image_size": side * patch,
            "patch_size": patch,
        },
    )
    renamed: Weights = {}
    for name, tensor in weights.items():
        renamed |= _renamed(name, tensor)
    network: CLIPModel = load_exact(CLIPModel, config, renamed)
    return network


def _renamed(name: str, tensor: Tensor) -> Weights:
    if name in ("visual.proj", "text_projection"):
        tensor = tensor.T.contiguous()
    for pattern, replacement in _NAMES.items():
        name = re.sub(pattern, replacement, name)
    if ".in_proj_" not in name:
        return {name: tensor}
    layer, _, kind = name.partition(".in_proj_")
    return {f"{layer}.{part}_proj.{kind}": rows.clone() for part, rows in zip("qkv", tensor.chunk(3), strict=True)}
