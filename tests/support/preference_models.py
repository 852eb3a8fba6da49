"""Tiny random checkpoints of the preference models with the published parameter names, and the published formulas in
plain torch.
"""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import BertTokenizer, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

State = dict[str, Tensor]

PROMPTS = ["a red star", "Two blue squares on a table, 4k", "a sign that says CAT", "a fox " * 60]
VOCABULARY = 520  # of the byte-level tokenizer in pipelines
BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "star", "two", "on", "fox", "cat", "4", "##k"]


def images() -> list[Image.Image]:
    """Square and not square, larger and smaller than the networks' input."""
    rng = np.random.default_rng(0)
    sizes = [(96, 96), (100, 61), (33, 80), (28, 28)]
    return [Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(size) for size in sizes]


def bert_tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={word: i for i, word in enumerate(BERT_WORDS)})


def open_clip_state(
    vocabulary: int = VOCABULARY, vision: int = 160, text: int = 128, embedding: int = 24, image_size: int = 28
) -> State:
    """With OpenCLIP's names. The attention heads have widths 80 and 64, as in ViT-H/14."""
    draw = Draw()
    state = {
        "logit_scale": torch.tensor(3.2),
        "positional_embedding": draw(77, text),
        "text_projection": draw(text, embedding),
        "visual.class_embedding": draw(vision),
        "visual.positional_embedding": draw((image_size // 14) ** 2 + 1, vision),
        "visual.proj": draw(vision, embedding),
        "visual.conv1.weight": draw(vision, 3, 14, 14),
        "token_embedding.weight": draw(vocabulary, text),
    }
    for tower, width in (("visual.transformer", vision), ("transformer", text)):
        for i in range(2):
            block = f"{tower}.resblocks.{i}"
            state |= draw.norm(f"{block}.ln_1", width) | draw.norm(f"{block}.ln_2", width)
            state |= {
                f"{block}.attn.in_proj_weight": draw(3 * width, width),
                f"{block}.attn.in_proj_bias": draw(3 * width),
            }
            state |= draw.linear(f"{block}.attn.out_proj", width, width)
            state |= draw.linear(f"{block}.mlp.c_fc", 4 * width, width)
            state |= draw.linear(f"{block}.mlp.c_proj", width, 4 * width)
    for norm, width in (("visual.ln_pre", vision), ("visual.ln_post", vision), ("ln_final", text)):
        state |= draw.norm(norm, width)
    return state


def blip_state(vision: int = 128, text: int = 128, image_size: int = 32) -> State:
    """With ImageReward's names. The attention heads have width 64 in both encoders."""
    draw = Draw()
    state = {
        "cls_token": draw(1, 1, vision),
        "pos_embed": draw(1, (image_size // 16) ** 2 + 1, vision),
        "patch_embed.proj.weight": draw(vision, 3, 16, 16),
        "patch_embed.proj.bias": draw(vision),
        **draw.norm("norm", vision),
    }
    for i in range(2):
        block = f"blocks.{i}"
        state |= draw.norm(f"{block}.norm1", vision) | draw.norm(f"{block}.norm2", vision)
        state |= draw.linear(f"{block}.attn.qkv", 3 * vision, vision)
        state |= draw.linear(f"{block}.attn.proj", vision, vision)
        state |= draw.linear(f"{block}.mlp.fc1", 4 * vision, vision)
        state |= draw.linear(f"{block}.mlp.fc2", vision, 4 * vision)
    words = {
        "embeddings.word_embeddings.weight": draw(len(BERT_WORDS), text),
        "embeddings.position_embeddings.weight": draw(64, text),
        "embeddings.position_ids": torch.arange(64)[None],
        **draw.norm("embeddings.LayerNorm", text),
    }
    for i in range(2):
        for attention, source in (("attention", text), ("crossattention", vision)):
            name = f"encoder.layer.{i}.{attention}"
            words |= draw.linear(f"{name}.self.query", text, text)
            words |= draw.linear(f"{name}.self.key", text, source) | draw.linear(f"{name}.self.value", text, source)
            words |= draw.linear(f"{name}.output.dense", text, text) | draw.norm(f"{name}.output.LayerNorm", text)
        name = f"encoder.layer.{i}"
        words |= draw.linear(f"{name}.intermediate.dense", 4 * text, text)
        words |= draw.linear(f"{name}.output.dense", text, 4 * text) | draw.norm(f"{name}.output.LayerNorm", text)
    return {
        **{f"blip.visual_encoder.{name}": tensor for name, tensor in state.items()},
        **{f"blip.text_encoder.{name}": tensor for name, tensor in words.items()},
        **draw.linear("blip.vision_proj", 16, vision),
        **draw.linear("blip.text_proj", 16, text),
        **{f"mlp.{name}": tensor for name, tensor in head_state(text).items()},
    }


def head_state(width: int) -> State:
    draw = Draw()
    state: State = {}
    sizes = (width, 1024, 128, 64, 16, 1)
    for index, rows, columns in zip((0, 2, 4, 6, 7), sizes[1:], sizes, strict=False):
        state |= draw.linear(f"layers.{index}", rows, columns)
    return state


def head_formula(state: State, x: Tensor) -> Tensor:
    for index in (0, 2, 4, 6, 7):
        x = functional.linear(x, state[f"layers.{index}.weight"], state[f"layers.{index}.bias"])
    return x[:, 0]


def pickscores(folder: Path, images: list[Image.Image], prompts: list[str]) -> list[float]:
    """The code in PickScore's README, for a folder with network and tokenizer. The processor uses PIL's filter, not
    torchvision's, as in the version of transformers that the README names.
    """
    network, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    size = network.config.vision_config.image_size
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    tokens = tokenizer(prompts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        image = network.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
        text = network.get_text_features(**tokens).pooler_output
        image, text = (x / torch.norm(x, dim=-1, keepdim=True) for x in (image, text))
        scores: list[float] = (network.logit_scale.exp() * text @ image.T).diagonal().tolist()
    return scores


def open_clip_images(state: State, pixels: Tensor, head_dim: int) -> Tensor:
    """The unit-length embeddings of pixels [N, 3, size, size], as in OpenCLIP's VisionTransformer."""
    patches = functional.conv2d(pixels, state["visual.conv1.weight"], stride=14).flatten(2).mT
    first = state["visual.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], 1) + state["visual.positional_embedding"]
    x = _open_clip_blocks(state, "visual.transformer", _norm(state, "visual.ln_pre", x), head_dim, mask=None)
    return functional.normalize(_norm(state, "visual.ln_post", x[:, 0]) @ state["visual.proj"], dim=-1)


def open_clip_texts(state: State, tokens: Tensor, head_dim: int) -> Tensor:
    """The unit-length embeddings at the token with the highest id, which ends the text."""
    mask = torch.full((tokens.shape[1],) * 2, -math.inf).triu(1)
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"][: tokens.shape[1]]
    x = _norm(state, "ln_final", _open_clip_blocks(state, "transformer", x, head_dim, mask))
    ends = x[torch.arange(len(tokens)), tokens.argmax(1)]
    return functional.normalize(ends @ state["text_projection"], dim=-1)


def _open_clip_blocks(state: State, tower: str, x: Tensor, head_dim: int, mask: Tensor | None) -> Tensor:
    for i in range(2):
        block = f"{tower}.resblocks.{i}"
        weight, bias = state[f"{block}.attn.in_proj_weight"], state[f"{block}.attn.in_proj_bias"]
        q, k, v = functional.linear(_norm(state, f"{block}.ln_1", x), weight, bias).chunk(3, -1)
        x = x + _linear(state, f"{block}.attn.out_proj", _attention(q, k, v, head_dim, mask))
        hidden = functional.gelu(_linear(state, f"{block}.mlp.c_fc", _norm(state, f"{block}.ln_2", x)))
        x = x + _linear(state, f"{block}.mlp.c_proj", hidden)
    return x


def blip_images(state: State, pixels: Tensor) -> Tensor:
    """The states of all image tokens, as in BLIP's VisionTransformer."""
    name = "blip.visual_encoder"
    weight, bias = state[f"{name}.patch_embed.proj.weight"], state[f"{name}.patch_embed.proj.bias"]
    patches = functional.conv2d(pixels, weight, bias, stride=16).flatten(2).mT
    x = torch.cat([state[f"{name}.cls_token"].expand(len(pixels), 1, -1), patches], 1) + state[f"{name}.pos_embed"]
    for i in range(2):
        block = f"{name}.blocks.{i}"
        q, k, v = _linear(state, f"{block}.attn.qkv", _norm(state, f"{block}.norm1", x, 1e-6)).chunk(3, -1)
        x = x + _linear(state, f"{block}.attn.proj", _attention(q, k, v, 64, None))
        hidden = functional.gelu(_linear(state, f"{block}.mlp.fc1", _norm(state, f"{block}.norm2", x, 1e-6)))
        x = x + _linear(state, f"{block}.mlp.fc2", hidden)
    return _norm(state, f"{name}.norm", x, 1e-6)


def blip_texts(state: State, tokens: Tensor, attention_mask: Tensor, image_states: Tensor) -> Tensor:
    """The state of the first token after all layers, each with attention to the text and to the image."""
    name = "blip.text_encoder"
    mask = (1 - attention_mask[:, None, None].float()) * -10000
    x = state[f"{name}.embeddings.word_embeddings.weight"][tokens]
    x = x + state[f"{name}.embeddings.position_embeddings.weight"][: tokens.shape[1]]
    x = _norm(state, f"{name}.embeddings.LayerNorm", x, 1e-12)
    for i in range(2):
        layer = f"{name}.encoder.layer.{i}"
        for block, masked in ((f"{layer}.attention", mask), (f"{layer}.crossattention", None)):
            source = image_states if masked is None else x
            q = _linear(state, f"{block}.self.query", x)
            k, v = _linear(state, f"{block}.self.key", source), _linear(state, f"{block}.self.value", source)
            attended = _linear(state, f"{block}.output.dense", _attention(q, k, v, 64, masked))
            x = _norm(state, f"{block}.output.LayerNorm", x + attended, 1e-12)
        hidden = functional.gelu(_linear(state, f"{layer}.intermediate.dense", x))
        x = _norm(state, f"{layer}.output.LayerNorm", x + _linear(state, f"{layer}.output.dense", hidden), 1e-12)
    return x[:, 0]


def _attention(q: Tensor, k: Tensor, v: Tensor, head_dim: int, mask: Tensor | None) -> Tensor:
    q, k, v = (x.reshape(*x.shape[:2], -1, head_dim).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.mT / math.sqrt(head_dim)
    return ((scores if mask is None else scores + mask).softmax(-1) @ v).transpose(1, 2).flatten(2)


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


class Draw:
    """Random tensors, scaled so that every part of the network affects the score."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator) / math.sqrt(math.prod(shape[1:]))

    def linear(self, name: str, rows: int, columns: int) -> State:
        return {f"{name}.weight": self(rows, columns), f"{name}.bias": 0.1 * self(rows)}

    def norm(self, name: str, width: int) -> State:
        return {f"{name}.weight": 1 + 0.1 * self(width), f"{name}.bias": 0.1 * self(width)}
