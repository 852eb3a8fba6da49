"""Takes five minutes on a CPU without units for bfloat16, in which Muon and the VAE's training compute."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline

from mixgrpo.pretraining.fit_flow import warm_up_hold_decay
from mixgrpo.pretraining.pretrain import Budget, pretrain

SHORT = Budget(
    vae_steps=100,
    vae_batch=2,
    decoder_steps=100,
    text_steps=50,
    text_batch=8,
    scenes=64,
    flow_steps=50,
    distillation_steps=50,
    flow_batch=4,
)


@pytest.mark.long
def test_a_short_pretraining_learns_and_saves_the_pipeline(tmp_path: Path) -> None:
    trained = pretrain(tmp_path, SHORT)
    log = [json.loads(line) for line in (tmp_path / "pretrain.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in log] == ["vae", "text", "encode", "flow", "distillation", "decoder"]
    assert log[0]["psnr"] > 8
    loaded = FluxPipeline.from_pretrained(tmp_path)
    for name, parameter in loaded.transformer.state_dict().items():
        assert torch.equal(parameter, trained.transformer.state_dict()[name])


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    budget = dataclasses.replace(
        SHORT, vae_steps=3, decoder_steps=2, text_steps=3, scenes=16, flow_steps=3, distillation_steps=2
    )
    first, second = (pretrain(tmp_path / name, budget).transformer.state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_learning_rate_warms_up_stays_and_decays() -> None:
    rates = [warm_up_hold_decay(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert set(rates[99:601]) == {1.0}
    assert all(a > b for a, b in pairwise(rates[600:]))
    assert 0 < rates[-1] < 0.01
