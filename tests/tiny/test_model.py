"""The model that ships: a plain diffusers folder, small, and as good as the README says."""

import itertools

import pytest
import torch
from diffusers import FluxPipeline

from mixgrpo import tiny
from mixgrpo.models.flux import Flux
from mixgrpo.pretraining.build import TEXT_TOKENS
from mixgrpo.pretraining.report import STEPS, accuracy, adapt_tiny, reconstruction, sample
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import ode_plan
from mixgrpo.sampling.rollout import rollout
from mixgrpo.scenes.captions import caption
from mixgrpo.scenes.prompts import evaluation_requests, train_requests


@pytest.fixture(scope="module")
def model() -> Flux:
    loaded = adapt_tiny(FluxPipeline.from_pretrained(tiny.path()))
    assert isinstance(loaded, Flux)
    return loaded


def test_it_is_small_and_holds_nothing_but_safetensors_and_text() -> None:
    files = [path for path in tiny.path().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".txt", ".png"}


def test_diffusers_alone_draws_the_trainers_pictures(model: Flux) -> None:
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
    ours = rollout(model, ode_plan(model.grid(STEPS)), model.encode(prompts), noise, group_size=1, micro_batch=2)
    assert (model.decode(ours.latents) - stock).abs().max() < 1e-4


def test_every_caption_fits_its_text_tokens(model: Flux) -> None:
    tokenizer = model.pipeline.tokenizer_2
    for request in [*evaluation_requests(), *itertools.islice(train_requests(0), 2000)]:
        ids = tokenizer(caption(request)).input_ids
        assert len(ids) <= TEXT_TOKENS
        assert tokenizer.unk_token_id not in ids


def test_true_pictures_survive_the_vae(model: Flux) -> None:
    """At 28 dB or more, and at least 97% are still accepted by the verifiers."""
    there_and_back = reconstruction(model.pipeline, count=400, seed=21)
    assert there_and_back["psnr"] >= 28
    assert there_and_back["accepted"] >= 0.97


def test_it_is_a_starting_point_with_room_to_learn(model: Flux) -> None:
    """A quarter of the held-out set; the whole of it is measured by `make pretrain`."""
    requests = evaluation_requests()[::4]
    assert 0.3 < accuracy(requests, sample(model, requests))["overall"]["strict"] < 0.7
