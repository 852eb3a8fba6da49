"""HPSv3 (Ma et al., ICCV 2025): Qwen2-VL-7B on the image and an instruction with the prompt, then a score head."""

import ast
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from .network_reward import NetworkReward, Placement

if TYPE_CHECKING:
    import torch
    from torch import nn

REPOSITORY, WEIGHTS = "MizzenAI/HPSv3", "HPSv3.safetensors"
BACKBONE_REPOSITORY = "Qwen/Qwen2-VL-7B-Instruct"


def hpsv3(
    *, path: str = REPOSITORY, backbone: str = BACKBONE_REPOSITORY, **placement: Unpack[Placement]
) -> NetworkReward:
    """HPSv3, Qwen2-VL-7B with a head: the mean of its distribution. Defaults: bfloat16, 4 images per forward pass.
    `path`: the weights file, its folder or its hub repository. `backbone`: only its configuration and tokenizer are
    used. Weights: 14.4 GiB in bfloat16.
    """
    from .weights import CONFIG, TOKENIZER, Source

    source = Source("rewards.hpsv3.path", path, REPOSITORY)
    qwen = Source("rewards.hpsv3.backbone", backbone, BACKBONE_REPOSITORY)

    def check() -> None:
        instruction()
        source.check(WEIGHTS)
        qwen.check(CONFIG)
        qwen.check(TOKENIZER)

    def load(dtype: "torch.dtype") -> "nn.Module":
        from transformers import Qwen2Tokenizer, Qwen2VLConfig

        from .qwen2_vl_scoring import Hpsv3
        from .weights import read_weights

        text = instruction()
        weights = read_weights(source.file(WEIGHTS))
        return Hpsv3(weights, qwen.pretrained(Qwen2VLConfig), qwen.tokenizer(Qwen2Tokenizer), text, dtype)

    options: Placement = {"dtype": "bfloat16", "batch": 4, **placement}
    return NetworkReward("hpsv3", load, check=check, **options)


def instruction() -> str:
    """The instruction that the weights were trained with, containing `{text_prompt}`: two strings of the authors' code.

    The package's source is parsed, not imported, because the package pins transformers 4.45.
    """
    package = importlib.util.find_spec("hpsv3")
    if package is None or package.submodule_search_locations is None:
        raise ImportError(
            "the hpsv3 reward takes its instruction from the authors' package: pip install --no-deps hpsv3"
        )
    source = Path(package.submodule_search_locations[0], "dataset", "data_collator_qwen.py").read_text(encoding="utf-8")
    strings = {
        target.id: str(node.value.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return strings["INSTRUCTION"] + strings["prompt_with_special_token"]
