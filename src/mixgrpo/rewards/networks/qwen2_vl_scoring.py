"""HPSv3's checkpoint on transformers' Qwen2-VL: the state at the token `<|Reward|>` goes through a small head."""

import torch
from PIL.Image import Image
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLImageProcessorPil, Qwen2VLModel
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLRotaryEmbedding, Qwen2VLVisionRotaryEmbedding

from .linear_head import linear
from .weights import Weights, under

_PIXELS = 256 * 28 * 28  # every picture is brought to about this many
_REWARD, _IMAGE = "<|Reward|>", "<|image_pad|>"
_CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
)


class Hpsv3(nn.Module):
    def __init__(
        self, weights: Weights, config: Qwen2VLConfig, tokenizer: Qwen2Tokenizer, instruction: str, dtype: torch.dtype
    ) -> None:
        super().__init__()
        # All of it, rotary frequencies too: the authors round them as well, in training too.
        self.body = _body(weights, config).to(dtype)
        layers = [linear(f"rm_head.{place}", weights) for place in (0, 3, 5)]
        self.head = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        tokenizer.add_special_tokens({"additional_special_tokens": [_REWARD]})
        tokenizer.padding_side = "right"
        self._tokenizer, self._instruction = tokenizer, instruction
        self._look = Qwen2VLImageProcessorPil(size={"shortest_edge": _PIXELS, "longest_edge": _PIXELS})

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        device = self.body.device
        seen = self._look(images, return_tensors="pt").to(device)
        tokens = self._tokenizer(
            [self._chat(prompt, grid) for prompt, grid in zip(prompts, seen.image_grid_thw, strict=True)],
            padding=True,
            return_tensors="pt",
        ).to(device)
        states = self.body(
            tokens.input_ids,
            attention_mask=tokens.attention_mask,
            # Plain positions, as the authors have them: Qwen2-VL's own count pictures in rows and columns.
            position_ids=torch.arange(tokens.input_ids.shape[1], device=device).expand_as(tokens.input_ids),
            pixel_values=seen.pixel_values.to(self.body.dtype),
            image_grid_thw=seen.image_grid_thw,
        ).last_hidden_state
        at_reward = states[tokens.input_ids == self._tokenizer.convert_tokens_to_ids(_REWARD)]
        mean_and_deviation: Tensor = self.head(at_reward.float())
        return mean_and_deviation[:, 0]

    def _chat(self, prompt: str, grid: Tensor) -> str:
        text = self._instruction.replace("{text_prompt}", prompt)
        return _CHAT.format(image=_IMAGE * (int(grid.prod()) // 4), text=text)  # 2 x 2 patches become one token


def _body(weights: Weights, config: Qwen2VLConfig) -> Qwen2VLModel:
    """Built without memory of its own, then given the checkpoint's tensors; only frequencies are computed."""
    config.text_config.vocab_size = len(weights["model.embed_tokens.weight"])
    with torch.device("meta"):
        body = Qwen2VLModel(config)
    body.language_model.rotary_emb = Qwen2VLRotaryEmbedding(config.text_config)
    body.visual.rotary_pos_emb = Qwen2VLVisionRotaryEmbedding(config.vision_config)
    parts = {"visual": under("visual.", weights), "language_model": under("model.", weights)}
    named = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    body.load_state_dict(named, assign=True)
    return body
