"""The model that ships with the package: an ordinary diffusers folder, small, and as accurate as the README says."""

import itertools

import pytest
import torch
from diffusers import FluxPipeline

from mixgrpo import tiny
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.pretraining.build import TEXT_TOKENS
from mixgrpo.pretraining.report import STEPS, accuracy, adapt_tiny, reconstruction, sample
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import ode_plan
from mixgrpo.sampling.rollout import rollout
from mixgrpo.scenes.captions import caption
from mixgrpo.scenes.prompts import evaluation_requests, train_requests


@pytest.fixture(scope="module")
def model() -> FlowModel:
    return adapt_tiny(FluxPipeline.from_pretrained(tiny.path()))


def test_the_folder_is_small_and_has_only_safetensors_text_and_images() -> None:
    files = [path for path in tiny.path().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".txt", ".png"}


def test_diffusers_alone_generates_the_same_images(model: FlowModel) -> None:
    pipeline = FluxPipeline.from_pretrained(tiny.path())
    pipeline.set_progress_bar_config(disable=True)
    prompts = ["a red star and a blue circle", 'the word "CAT"']
    noise = KeyedNoise(0, 0, model.latent_shape)
    stock = pipeline(
        prompts,
        height=64,
        width=64,
        num_inference_steps=STEPS,
        max_sequence_length=TEXT_TOKENS,
        latents=torch.stack([noise.initial(i, None) for i in range(2)]),
        output_type="pt",
        return_dict=False,
    )[0]
    conditioning = model.encode(prompts_of(prompts))
    ours = rollout(model, ode_plan(model.grid(STEPS)), conditioning, noise, group_size=1, micro_batch=2)
    assert (model.decode(ours.latents)[:, 0] - stock).abs().max() < 1e-4


def test_every_caption_fits_the_text_tokens(model: FlowModel) -> None:
    tokenizer = model.pipeline.tokenizer_2
    for request in [*evaluation_requests(), *itertools.islice(train_requests(0), 2000)]:
        ids = tokenizer(caption(request)).input_ids
        assert len(ids) <= TEXT_TOKENS
        assert tokenizer.unk_token_id not in ids


def test_the_vae_reconstructs_rendered_images(model: FlowModel) -> None:
    """With at least 28 dB; and the verifiers still accept at least 97% of them."""
    reconstructed = reconstruction(model.pipeline, count=400, seed=21)
    assert reconstructed["psnr"] >= 28
    assert reconstructed["accepted"] >= 0.97


def test_the_accuracy_leaves_room_for_training(model: FlowModel) -> None:
    """Measured on an eighth of the held-out set. `make pretrain` measures all of it."""
    requests = evaluation_requests()[::8]
    assert 0.3 < accuracy(requests, sample(model, requests))["overall"]["strict"] < 0.7
