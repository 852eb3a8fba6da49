"""HPSv3 (Ma et al., ICCV 2025): Qwen2-VL-7B reads an instruction with the prompt, sees the picture, a head scores."""

import ast
import importlib.util
from pathlib import Path

import torch
from torch import nn

from .network_reward import Dtype, ModelReward, RestOn

HOME = "MizzenAI/HPSv3"
BACKBONE = "Qwen/Qwen2-VL-7B-Instruct"


def hpsv3(
    *,
    path: str = HOME,
    backbone: str = BACKBONE,
    device: str = "auto",
    dtype: Dtype = "bfloat16",
    rest_on: RestOn = "device",
    batch: int = 4,
) -> ModelReward:
    """The mean of the score's distribution. `path`: the file, its folder or its repository; `backbone`: for its
    configuration and tokenizer alone. Weights: 14.4 GiB in bfloat16.
    """

    def load(dtype: torch.dtype) -> nn.Module:
        from transformers import Qwen2Tokenizer, Qwen2VLConfig

        from .qwen2_vl_scoring import Hpsv3
        from .weights import Source, read

        text = instruction()
        weights = read(Source("rewards.hpsv3.path", path, HOME).file("HPSv3.safetensors"))
        qwen = Source("rewards.hpsv3.backbone", backbone, BACKBONE)
        return Hpsv3(weights, qwen.pretrained(Qwen2VLConfig), qwen.tokenizer(Qwen2Tokenizer), text, dtype)

    return ModelReward("hpsv3", load, device=device, dtype=dtype, rest_on=rest_on, batch=batch)


def instruction() -> str:
    """What the weights were trained to read, with `{text_prompt}` in it: two strings in the authors' package.

    The package is read, not imported: it pins transformers 4.45.
    """
    package = importlib.util.find_spec("hpsv3")
    if package is None or package.submodule_search_locations is None:
        raise ImportError("hpsv3's instruction is in its authors' package: pip install --no-deps hpsv3")
    source = Path(package.submodule_search_locations[0], "dataset", "data_collator_qwen.py").read_text(encoding="utf-8")
    strings = {
        target.id: str(node.value.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return strings["INSTRUCTION"] + strings["prompt_with_special_token"]
