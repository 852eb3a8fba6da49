"""HPSv3 against the Qwen2-VL model of transformers, on a tiny random checkpoint with the published names."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

import preference_models as tiny
import qwen2_vl
from mixgrpo.rewards.networks.hpsv3 import hpsv3, instruction
from mixgrpo.rewards.networks.network_reward import NetworkReward
from mixgrpo.rewards.networks.qwen2_vl_scoring import Hpsv3

IMAGES, PROMPTS = tiny.images(), tiny.PROMPTS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint, and a package `hpsv3` that contains an instruction and cannot be imported."""
    qwen2_vl.save(tmp_path)
    source = tmp_path / "hpsv3" / "dataset" / "data_collator_qwen.py"
    source.parent.mkdir(parents=True)
    before, _, after = qwen2_vl.INSTRUCTION.partition("Rating")
    lines = ["import none_such", f"INSTRUCTION = {before!r}", f"prompt_with_special_token = {'Rating' + after!r}"]
    source.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def make(folder: Path, dtype: Literal["float32", "bfloat16"] = "float32", batch: int = 4) -> NetworkReward:
    return hpsv3(path=str(folder), backbone=str(folder), device="cpu", dtype=dtype, batch=batch)


def expected(image: Image.Image, prompt: str) -> float:
    """The score of a single image: the last state of transformers' model at the reward token, then the head."""
    state = qwen2_vl.state()
    model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(**qwen2_vl.sizes())).eval()
    for name, parameter in model.named_parameters():
        old = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        parameter.data.copy_(state[old])
    pixels = 256 * 28 * 28
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": pixels, "longest_edge": pixels})
    vision = processor([image], return_tensors="pt")
    rows, columns = vision.image_grid_thw[0, 1:].tolist()
    tokenizer = qwen2_vl.tokenizer()
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        + "<|image_pad|>" * (rows * columns // 4)
        + f"<|vision_end|>Rate this picture of: {prompt}\nRating: "
    )
    before = tokenizer(text).input_ids
    ids = torch.tensor([[*before, len(state["model.embed_tokens.weight"]) - 1]])
    with torch.no_grad():
        x = model(
            ids, position_ids=torch.arange(ids.shape[1])[None], output_hidden_states=True, **vision
        ).hidden_states[-1][0, -1]
    for index in (0, 3):
        x = functional.linear(x, state[f"rm_head.{index}.weight"], state[f"rm_head.{index}.bias"]).relu()
    return float((state["rm_head.5.weight"] @ x + state["rm_head.5.bias"])[0])


def test_the_score_is_the_heads_mean_at_the_reward_token(folder: Path) -> None:
    scores = make(folder)(IMAGES, PROMPTS)
    assert scores == pytest.approx([expected(*pair) for pair in zip(IMAGES, PROMPTS, strict=True)], abs=1e-5)


def test_the_score_depends_on_image_and_prompt_but_not_on_the_batch_size(folder: Path) -> None:
    first, other_image, other_prompt = make(folder)([IMAGES[0], IMAGES[1], IMAGES[0]], ["a", "a", "some other"])
    assert abs(first - other_image) > 1e-4
    assert abs(first - other_prompt) > 1e-4
    assert make(folder, batch=1)(IMAGES, PROMPTS) == pytest.approx(make(folder)(IMAGES, PROMPTS), abs=1e-5)


def test_half_precision_rounds_the_body_but_not_the_head(folder: Path) -> None:
    exact, half = make(folder), make(folder, "bfloat16")
    assert half(IMAGES, PROMPTS) == pytest.approx(exact(IMAGES, PROMPTS), abs=0.05)
    head = sum(tensor.numel() for name, tensor in qwen2_vl.state().items() if name.startswith("rm_head."))
    assert half.memory == (exact.memory - 4 * head) / 2 + 4 * head


def test_rotary_frequencies_are_rounded_with_the_rest() -> None:
    """As in the authors' code. transformers alone would keep them exact, which changes bfloat16 scores."""
    config = Qwen2VLConfig(**qwen2_vl.sizes())
    network = Hpsv3(qwen2_vl.state(), config, qwen2_vl.tokenizer(), qwen2_vl.INSTRUCTION, torch.bfloat16)
    for rotary in (network.body.language_model.rotary_emb, network.body.visual.rotary_pos_emb):
        assert rotary.inv_freq.dtype == torch.bfloat16


def test_the_authors_package_is_parsed_and_not_imported(folder: Path) -> None:
    assert instruction() == qwen2_vl.INSTRUCTION
