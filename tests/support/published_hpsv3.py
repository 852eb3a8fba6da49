"""Run hpsv3's own inferencer on a tiny checkpoint that `qwen2_vl.save` has saved in a folder, and print its scores.

    python tests/support/published_hpsv3.py FOLDER DTYPE

It runs in a process of its own because hpsv3 pins transformers 4.45. Packages that hpsv3 imports only for training are
replaced by stubs.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLImageProcessor, Qwen2VLProcessor

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<|vision_start|><|image_pad|>"
    "<|vision_end|>{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Stub(types.ModuleType):
    """A module from which any name can be imported, but none is used."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    stubbed = ("matplotlib", "pandas", "datasets", "trl", "peft", "fire", "torch.utils.tensorboard")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if any(f"{fullname}.".startswith(f"{name}.") for name in self.stubbed):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def scores(folder: Path, dtype: torch.dtype) -> list[float]:
    import transformers.trainer  # noqa: F401  before its own optional imports are stubbed

    sys.meta_path.insert(0, StubFinder())
    from hpsv3.inference import HPSv3RewardInferencer
    from hpsv3.model.qwen2vl_trainer import Qwen2VLRewardModelBT

    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    tokenizer = Qwen2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), padding_side="right")
    tokenizer.add_special_tokens({"additional_special_tokens": [*case["special"], "<|Reward|>"]})
    config = Qwen2VLConfig(**case["config"], pad_token_id=tokenizer.pad_token_id)
    model = Qwen2VLRewardModelBT(
        config,
        output_dim=2,
        reward_token="special",
        special_token_ids=tokenizer.convert_tokens_to_ids(["<|Reward|>"]),
        rm_head_type="ranknet",
    )
    model.load_state_dict(load_file(folder / "HPSv3.safetensors"))
    model.to(dtype).rm_head.to(torch.float32)
    model.rm_head.register_forward_pre_hook(lambda module, args: (args[0].float(),))  # as autocast does on a GPU
    inferencer = object.__new__(HPSv3RewardInferencer)
    vars(inferencer).update(
        device="cpu",
        use_special_tokens=True,
        model=model.eval(),
        processor=Qwen2VLProcessor(Qwen2VLImageProcessor(), tokenizer, chat_template=TEMPLATE),
    )
    images = [Image.open(folder / name) for name in case["images"]]
    with torch.no_grad():
        means: list[float] = inferencer.reward(images, case["prompts"])[:, 0].tolist()
    return means


if __name__ == "__main__":
    print(json.dumps(scores(Path(sys.argv[1]), getattr(torch, sys.argv[2]))))
