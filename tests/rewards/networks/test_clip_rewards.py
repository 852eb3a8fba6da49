"""hpsv2, pickscore, clipscore and aesthetic against their formulas in plain torch, on tiny random checkpoints."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

import pipelines
import preference_models as tiny
from mixgrpo.rewards.networks.aesthetic_predictor import aesthetic
from mixgrpo.rewards.networks.clip_scoring import clean_text
from mixgrpo.rewards.networks.clipscore import clipscore
from mixgrpo.rewards.networks.hpsv2 import hpsv2
from mixgrpo.rewards.networks.open_clip import build_clip
from mixgrpo.rewards.networks.pickscore import pickscore
from mixgrpo.rewards.networks.preprocessing import centre_crop, centre_crop_floor, letterbox

IMAGES, PROMPTS = tiny.images(), tiny.PROMPTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An HPS checkpoint in the published format, and the same network and tokenizer in the format of transformers."""
    path = tmp_path_factory.mktemp("clip")
    state = tiny.open_clip_state()
    torch.save({"epoch": 1, "state_dict": state}, path / "HPS_v2.1_compressed.pt")
    build_clip(state, vision_head_dim=80, text_head_dim=64, activation="gelu").save_pretrained(path)
    pipelines.clip_tokenizer().save_pretrained(path)
    return path


def embeddings(pixels: torch.Tensor, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    state = tiny.open_clip_state()
    tokens = pipelines.clip_tokenizer()(
        prompts, padding=True, truncation=True, max_length=77, return_tensors="pt"
    ).input_ids
    return tiny.open_clip_images(state, pixels, head_dim=80), tiny.open_clip_texts(state, tokens, head_dim=64)


def cosines(pixels: torch.Tensor, prompts: list[str]) -> list[float]:
    images, texts = embeddings(pixels, prompts)
    return (images * texts).sum(-1).tolist()


def test_hpsv2_is_the_cosine_of_the_open_clip_network(folder: Path) -> None:
    scores = hpsv2(path=str(folder), tokenizer=str(folder), device="cpu", batch=3)(IMAGES, PROMPTS)
    assert scores == pytest.approx(cosines(letterbox(IMAGES, 28), PROMPTS), abs=1e-6)
    assert max(scores) - min(scores) > 0.05


def test_pickscore_equals_the_code_in_its_readme(folder: Path) -> None:
    scores = pickscore(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, PROMPTS)
    assert scores == pytest.approx(tiny.pickscores(folder, IMAGES, PROMPTS), abs=2e-5)
    assert scores == pytest.approx(
        [24.5325 * cosine for cosine in cosines(centre_crop_floor(IMAGES, 28), PROMPTS)], abs=1e-3
    )


def test_clipscore_is_the_plain_cosine(folder: Path) -> None:
    scores = clipscore(path=str(folder), device="cpu")(IMAGES, PROMPTS)
    assert scores == pytest.approx(cosines(centre_crop(IMAGES, 28), PROMPTS), abs=1e-6)


def test_aesthetic_is_a_linear_head_on_the_image_embedding(folder: Path, tmp_path: Path) -> None:
    head = tiny.head_state(24)
    torch.save(head, tmp_path / "sac+logos+ava1-l14-linearMSE.pth")
    reward = aesthetic(path=str(folder), head=str(tmp_path / "sac+logos+ava1-l14-linearMSE.pth"), device="cpu")
    image, _ = embeddings(centre_crop(IMAGES, 28), PROMPTS)
    scores = reward(IMAGES, PROMPTS)
    assert scores == pytest.approx(tiny.head_formula(head, image).tolist(), abs=1e-6)
    assert scores == reward(IMAGES, [""] * 4)


def test_the_scale_is_read_before_the_weights_are_rounded(folder: Path) -> None:
    """Rounding logit_scale to bfloat16 would scale every score by a factor that is off by up to 1%."""
    exact = pickscore(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, PROMPTS)
    reward = pickscore(path=str(folder), tokenizer=str(folder), device="cpu", dtype="bfloat16")
    rounded = reward(IMAGES, PROMPTS)
    assert rounded == pytest.approx(exact, abs=0.5)
    assert reward.memory == 2 * sum(p.numel() for p in CLIPModel.from_pretrained(folder).parameters())
    network, scale = CLIPModel.from_pretrained(folder, dtype=torch.bfloat16), 24.5325
    assert network.logit_scale.float().exp().item() != pytest.approx(scale, rel=1e-3)


def test_scores_do_not_depend_on_the_batch_size(folder: Path) -> None:
    path = str(folder)
    batched, single = (hpsv2(path=path, tokenizer=path, device="cpu", batch=batch) for batch in (4, 1))
    assert batched(IMAGES, PROMPTS) == pytest.approx(single(IMAGES, PROMPTS), abs=1e-6)
    assert batched(IMAGES, PROMPTS) == batched(IMAGES, PROMPTS)


def test_a_checkpoint_of_another_network_is_an_error(tmp_path: Path) -> None:
    state = tiny.open_clip_state()
    del state["ln_final.bias"]
    state["score_predictor.weight"] = torch.ones(1)
    torch.save({"state_dict": state}, tmp_path / "HPS_v2.1_compressed.pt")
    pipelines.clip_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"the checkpoint does not match CLIPModel: missing_keys .*final_layer_norm.bias"
    ):
        hpsv2(path=str(tmp_path), tokenizer=str(tmp_path), device="cpu")(IMAGES, PROMPTS)


def test_prompts_are_cleaned_as_by_openais_tokenizer() -> None:
    assert clean_text(" it\u2019s &lt;3 \ufb01ne ") == "it's <3 fine"
    assert clean_text("<b> &amp;lt;3") == "<b> <3"
