"""A tiny random checkpoint of HPSv3: Qwen2-VL and a head, with the published parameter names."""

import json
from pathlib import Path
from typing import Any

from PIL.Image import Image
from safetensors.torch import save_file
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from pipelines import byte_letters
from preference_models import Draw, State

INSTRUCTION = "Rate this picture of: {text_prompt}\nRating: <|Reward|>\nEND\n"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
HIDDEN = 64


def sizes() -> dict[str, Any]:
    """The configuration, in the flat form of the published Qwen2-VL."""
    words = [*byte_letters(), *SPECIAL]
    return {
        "vocab_size": len(words) + 1,
        "hidden_size": HIDDEN,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "bos_token_id": words.index("<|endoftext|>"),
        "eos_token_id": words.index("<|im_end|>"),
        "image_token_id": words.index("<|image_pad|>"),
        "vision_start_token_id": words.index("<|vision_start|>"),
        "vision_end_token_id": words.index("<|vision_end|>"),
        "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": HIDDEN, "num_heads": 2, "mlp_ratio": 4},
    }


def tokenizer() -> Qwen2Tokenizer:
    vocab = {token: i for i, token in enumerate([*byte_letters(), *SPECIAL])}
    return Qwen2Tokenizer(vocab=vocab, merges=[], additional_special_tokens=SPECIAL[1:])


def state() -> State:
    """With the parameter names of transformers 4.45, with which the authors saved the weights."""
    draw = Draw()
    weights: State = {}
    for name, parameter in Qwen2VLForConditionalGeneration(Qwen2VLConfig(**sizes())).named_parameters():
        old = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        noise = draw(*parameter.shape)
        weights[old] = 1 + 0.1 * noise if old.endswith(("norm.weight", "layernorm.weight", "ln_q.weight")) else noise
    for index, rows, columns in ((0, 1024, HIDDEN), (3, 16, 1024), (5, 2, 16)):
        weights |= draw.linear(f"rm_head.{index}", rows, columns)
    return weights


def save(folder: Path) -> None:
    save_file(state(), folder / "HPSv3.safetensors")
    Qwen2VLConfig(**sizes()).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def save_case(folder: Path, images: list[Image], prompts: list[str]) -> None:
    """The inputs of `published_hpsv3` besides the weights, in formats that transformers 4.45 can read."""
    vocab = {token: i for i, token in enumerate(byte_letters())}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    names = [f"{i}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        image.save(folder / name)
    case = {"config": sizes(), "special": SPECIAL, "images": names, "prompts": prompts}
    (folder / "case.json").write_text(json.dumps(case), encoding="utf-8")
