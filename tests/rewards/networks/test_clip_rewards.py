"""hpsv2, pickscore, clipscore and aesthetic against their formulas in plain torch, on tiny random checkpoints."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

import pipelines
import preference_models as tiny
from mixgrpo.rewards.networks.aesthetic_predictor import aesthetic
from mixgrpo.rewards.networks.clip_scoring import mended
from mixgrpo.rewards.networks.clipscore import clipscore
from mixgrpo.rewards.networks.hpsv2 import hpsv2
from mixgrpo.rewards.networks.open_clip import clip_of
from mixgrpo.rewards.networks.pickscore import pickscore
from mixgrpo.rewards.networks.preprocessing import cropped, cropped_low, letterboxed

IMAGES, PROMPTS = tiny.pictures(), tiny.PROMPTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published HPS checkpoint, and the same network as a folder of transformers with its tokenizer."""
    path = tmp_path_factory.mktemp("clip")
    state = tiny.open_clip_state()
    torch.save({"epoch": 1, "state_dict": state}, path / "HPS_v2.1_compressed.pt")
    clip_of(state, vision_head=80, text_head=64, activation="gelu").save_pretrained(path)
    pipelines.clip_tokenizer().save_pretrained(path)
    return path


def embeddings(pixels: torch.Tensor, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    state = tiny.open_clip_state()
    tokens = pipelines.clip_tokenizer()(
        prompts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    ).input_ids
    return tiny.open_clip_images(state, pixels, head=80), tiny.open_clip_texts(state, tokens, head=64)


def cosines(pixels: torch.Tensor, prompts: list[str]) -> list[float]:
    seen, read = embeddings(pixels, prompts)
    return (seen * read).sum(-1).tolist()


def test_hpsv2_is_the_cosine_of_openclips_network(folder: Path) -> None:
    scores = hpsv2(path=str(folder), tokenizer=str(folder), device="cpu", batch=3)(IMAGES, PROMPTS)
    assert scores == pytest.approx(cosines(letterboxed(IMAGES, 28), PROMPTS), abs=1e-6)
    assert max(scores) - min(scores) > 0.05


def test_pickscore_is_what_its_readme_computes(folder: Path) -> None:
    scores = pickscore(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, PROMPTS)
    assert scores == pytest.approx(tiny.pickscores(folder, IMAGES, PROMPTS), abs=2e-5)
    assert scores == pytest.approx([24.5325 * cosine for cosine in cosines(cropped_low(IMAGES, 28), PROMPTS)], abs=1e-3)


def test_clipscore_is_the_cosine_alone(folder: Path) -> None:
    scores = clipscore(path=str(folder), device="cpu")(IMAGES, PROMPTS)
    assert scores == pytest.approx(cosines(cropped(IMAGES, 28), PROMPTS), abs=1e-6)


def test_aesthetic_is_a_linear_head_on_the_picture_alone(folder: Path, tmp_path: Path) -> None:
    head = tiny.head_state(24)
    torch.save(head, tmp_path / "sac+logos+ava1-l14-linearMSE.pth")
    reward = aesthetic(path=str(folder), head=str(tmp_path / "sac+logos+ava1-l14-linearMSE.pth"), device="cpu")
    seen, _ = embeddings(cropped(IMAGES, 28), PROMPTS)
    scores = reward(IMAGES, PROMPTS)
    assert scores == pytest.approx(tiny.head_formula(head, seen).tolist(), abs=1e-6)
    assert scores == reward(IMAGES, [""] * 4)


def test_the_scale_is_read_before_weights_are_rounded(folder: Path) -> None:
    """exp(logit_scale) rounded to bfloat16 would be off by a constant factor of up to 1%."""
    exact = pickscore(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, PROMPTS)
    reward = pickscore(path=str(folder), tokenizer=str(folder), device="cpu", dtype="bfloat16")
    rounded = reward(IMAGES, PROMPTS)
    assert rounded == pytest.approx(exact, abs=0.5)
    assert reward.memory == 2 * sum(p.numel() for p in CLIPModel.from_pretrained(folder).parameters())
    network, scale = CLIPModel.from_pretrained(folder, dtype=torch.bfloat16), 24.5325
    assert network.logit_scale.float().exp().item() != pytest.approx(scale, rel=1e-3)


def test_scores_do_not_depend_on_the_batch(folder: Path) -> None:
    path = str(folder)
    together, alone = (hpsv2(path=path, tokenizer=path, device="cpu", batch=batch) for batch in (4, 1))
    assert together(IMAGES, PROMPTS) == pytest.approx(alone(IMAGES, PROMPTS), abs=1e-6)
    assert together(IMAGES, PROMPTS) == together(IMAGES, PROMPTS)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    state = tiny.open_clip_state()
    del state["ln_final.bias"]
    state["score_predictor.weight"] = torch.ones(1)
    torch.save({"state_dict": state}, tmp_path / "HPS_v2.1_compressed.pt")
    pipelines.clip_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"not the CLIPModel it should be: missing_keys .*final_layer_norm.bias"):
        hpsv2(path=str(tmp_path), tokenizer=str(tmp_path), device="cpu")(IMAGES, PROMPTS)


def test_prompts_are_mended_as_openai_does() -> None:
    assert mended(" it\u2019s &lt;3 \ufb01ne ") == "it's <3 fine"
    assert mended("<b> &amp;lt;3") == "<b> <3"
