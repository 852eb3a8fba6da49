"""ImageReward against its formula in plain torch, on a tiny random checkpoint with the published names."""

from pathlib import Path

import pytest
import torch

import preference_models as tiny
from mixgrpo.rewards.networks.imagereward import imagereward
from mixgrpo.rewards.networks.preprocessing import centre_crop

IMAGES, PROMPTS = tiny.images(), tiny.PROMPTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blip")
    torch.save(tiny.blip_state(), path / "ImageReward.pt")
    tiny.bert_tokenizer().save_pretrained(path)
    return path


def test_imagereward_is_the_head_on_the_text_state_with_attention_to_the_image(folder: Path) -> None:
    state = tiny.blip_state()
    tokens = tiny.bert_tokenizer()(PROMPTS, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    image_states = tiny.blip_images(state, centre_crop(IMAGES, 32))
    text_state = tiny.blip_texts(state, tokens.input_ids, tokens.attention_mask, image_states)
    head = {name.removeprefix("mlp."): tensor for name, tensor in state.items() if name.startswith("mlp.")}
    expected = (tiny.head_formula(head, text_state) - 0.16717362830052426) / 1.0333394966054072
    scores = imagereward(path=str(folder), tokenizer=str(folder), device="cpu", batch=3)(IMAGES, PROMPTS)
    assert scores == pytest.approx(expected.tolist(), abs=2e-6)


def test_the_score_depends_on_the_image_and_on_the_prompt(folder: Path) -> None:
    reward = imagereward(path=str(folder), tokenizer=str(folder), device="cpu")
    first, other_image, other_prompt = reward([IMAGES[0], IMAGES[1], IMAGES[0]], ["a red star"] * 2 + ["two fox"])
    assert abs(first - other_image) > 1e-3
    assert abs(first - other_prompt) > 1e-3


def test_the_head_stays_in_float32_in_half_precision(folder: Path) -> None:
    exact = imagereward(path=str(folder), tokenizer=str(folder), device="cpu")
    half = imagereward(path=str(folder), tokenizer=str(folder), device="cpu", dtype="bfloat16")
    assert half(IMAGES, PROMPTS) == pytest.approx(exact(IMAGES, PROMPTS), abs=0.1)
    head = sum(tensor.numel() for name, tensor in tiny.blip_state().items() if name.startswith("mlp."))
    assert half.memory == (exact.memory - 4 * head) / 2 + 4 * head
