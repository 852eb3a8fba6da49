"""HPSv3's checkpoint on the Qwen2-VL of transformers: a small head on the hidden state of the token `<|Reward|>`."""

import torch
from accelerate import init_empty_weights
from PIL.Image import Image
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLImageProcessorPil, Qwen2VLModel

from .linear_head import linear
from .weights import Weights, strip_prefix

_PIXELS = 256 * 28 * 28  # images are resized to about this many
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
        # Including the rotary frequencies: the authors round them too, also in training.
        self.body = _body(weights, config).to(dtype)
        layers = [linear(f"rm_head.{index}", weights) for index in (0, 3, 5)]
        self.head = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        tokenizer.add_special_tokens({"additional_special_tokens": [_REWARD]})
        tokenizer.padding_side = "right"
        self._tokenizer, self._instruction = tokenizer, instruction
        self._image_processor = Qwen2VLImageProcessorPil(size={"shortest_edge": _PIXELS, "longest_edge": _PIXELS})

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        device = self.body.device
        vision = self._image_processor(images, return_tensors="pt").to(device)
        tokens = self._tokenizer(
            [self._chat_text(prompt, grid) for prompt, grid in zip(prompts, vision.image_grid_thw, strict=True)],
            padding=True,
            return_tensors="pt",
        ).to(device)
        states = self.body(
            tokens.input_ids,
            attention_mask=tokens.attention_mask,
            # Plain positions, as in the authors' code. Qwen2-VL's own number image tokens by row and column.
            position_ids=torch.arange(tokens.input_ids.shape[1], device=device).expand_as(tokens.input_ids),
            pixel_values=vision.pixel_values.to(self.body.dtype),
            image_grid_thw=vision.image_grid_thw,
        ).last_hidden_state
        reward_states = states[tokens.input_ids == self._tokenizer.convert_tokens_to_ids(_REWARD)]
        mean_and_deviation: Tensor = self.head(reward_states.float())
        return mean_and_deviation[:, 0]

    def _chat_text(self, prompt: str, grid: Tensor) -> str:
        text = self._instruction.replace("{text_prompt}", prompt)
        return _CHAT.format(image=_IMAGE * (int(grid.prod()) // 4), text=text)  # 2 x 2 patches per token


def _body(weights: Weights, config: Qwen2VLConfig) -> Qwen2VLModel:
    """Built without memory for parameters, and given the checkpoint's tensors. Only buffers, the rotary frequencies,
    are not in the checkpoint and computed.
    """
    config.text_config.vocab_size = len(weights["model.embed_tokens.weight"])
    with init_empty_weights(include_buffers=False):
        body = Qwen2VLModel(config)
    parts = {"visual": strip_prefix("visual.", weights), "language_model": strip_prefix("model.", weights)}
    named = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    body.load_state_dict(named, assign=True)
    return body
