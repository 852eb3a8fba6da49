"""Tiny LLaVA checkpoints with the files that a server of vision-language models needs. One is random; the others say
what they are built to say, letter by letter.
"""

from itertools import pairwise
from pathlib import Path

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2Tokenizer,
)

from pipelines import byte_letters

_ASKED, _END, _IMAGE = "<|asked|>", "<|end|>", "<image>"
_WORDS = [*byte_letters(), _ASKED, _END, _IMAGE]
_LIGHT, _MEAN_LIGHT = len(_WORDS), len(_WORDS) + 1  # of an image's patch, and of what was read so far
_HIDDEN = len(_WORDS) + 5  # a multiple of the heads' size
_CHAT = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + _IMAGE + "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}" + _ASKED + "{% endif %}"
)


def save_random(folder: Path) -> None:
    torch.manual_seed(0)
    _save(LlavaForConditionalGeneration(_config()), folder)


def save_speaker(folder: Path, text: str) -> None:
    """Says the text, in which no letter may occur twice, whatever it is asked."""
    _save(_speaker(text), folder)


def save_judge_of_light(folder: Path) -> None:
    """Says `Score: 5` of light images and `Score: 1` of dark ones."""
    model = _speaker("Score: ")
    network = model.model
    tower, language = network.vision_tower, network.language_model
    last = _id("Ġ")
    with torch.no_grad():
        # A patch's mean, positive or negative, and its opposite: normalising them leaves the sign.
        tower.embeddings.patch_embedding.weight[0], tower.embeddings.patch_embedding.weight[1] = 1 / 192, -1 / 192
        projector = network.multi_modal_projector
        projector.linear_1.weight[0, 0] = projector.linear_1.weight[1, 1] = 1
        projector.linear_2.weight[_LIGHT, 0], projector.linear_2.weight[_LIGHT, 1] = 1, -1  # gelu(x) - gelu(-x) = x
        attention = language.layers[0].self_attn  # without queries and keys, it takes the mean of what was read
        attention.v_proj.weight[0, _LIGHT] = 1
        attention.o_proj.weight[_MEAN_LIGHT, 0] = 1
        for digit, sign in (("5", 1), ("1", -1)):
            model.lm_head.weight[_id(digit), last] = 50
            model.lm_head.weight[_id(digit), _MEAN_LIGHT] = 50 * sign
            model.lm_head.weight[_id(_END), _id(digit)] = 1000
    _save(model, folder)


def _speaker(text: str) -> LlavaForConditionalGeneration:
    """Each token is a direction of its own, and the token that follows is all that the output knows about it."""
    model = LlavaForConditionalGeneration(_config())
    said = [_ASKED, *text.replace(" ", "Ġ"), *([] if text.endswith(" ") else [_END])]
    assert len(set(said)) == len(said), f"a letter of {text!r} occurs twice"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(
                1 if name.endswith(("norm.weight", "layernorm.weight", "norm1.weight", "norm2.weight")) else 0
            )
        model.model.language_model.embed_tokens.weight[:, : len(_WORDS)] = torch.eye(len(_WORDS))
        for before, after in pairwise(said):
            model.lm_head.weight[_id(after), _id(before)] = 1000
    return model


def _id(word: str) -> int:
    return _WORDS.index(word)


def _config() -> LlavaConfig:
    text = LlamaConfig(
        vocab_size=len(_WORDS),
        hidden_size=_HIDDEN,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=_HIDDEN // 8,
        num_key_value_heads=_HIDDEN // 8,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=_id(_END),
        pad_token_id=_id(_END),
    )
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=16, patch_size=8
    )
    return LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=_id(_IMAGE),
        image_seq_length=4,
        vision_feature_layer=-1,
    )


def _save(model: LlavaForConditionalGeneration, folder: Path) -> None:
    tokenizer = Qwen2Tokenizer(
        vocab={word: i for i, word in enumerate(_WORDS)},
        merges=[],
        eos_token=_END,
        pad_token=_END,
        unk_token=_END,
        additional_special_tokens=[_ASKED, _IMAGE],
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=_CHAT,
        num_additional_image_tokens=1,
    )
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
