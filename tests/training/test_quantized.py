"""LoRA on a network in int8, by the real back-end on the tiny model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from mixgrpo.bench.training import new_trainer
from mixgrpo.cli.main import app
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import load_model
from mixgrpo.models.quantized import stored_bytes
from mixgrpo.planning.memory import Layout, memory_of
from mixgrpo.planning.tracing import trace
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.runs.memory import held
from mixgrpo.training.trainer import Trainer

LORA = [
    "tune=lora",
    "tune_only=[]",
    "lora.rank=8",
    "lora.alpha=8",
    "rollout.prompts=2",
    "rollout.group_size=4",
    "rollout.micro_batch=8",
    "grid.steps=6",
    "window.range=[1,3]",
    "update.learning_rate=1e-3",
    "update.warmup_iterations=0",
    "iterations=2",
]


def recipe(*changes: str) -> Recipe:
    return load_recipe("scenes", [*LORA, "model.quantize=int8", *changes])


def trainer(settings: Recipe) -> Trainer:
    return new_trainer(settings, load_model(settings.model), find_rewards(settings.rewards))


def test_the_network_alone_is_quantized_and_an_update_trains_float32_adapters() -> None:
    one = trainer(recipe())
    network = one.model.networks["transformer"]
    whole = load_model(load_recipe("scenes").model).networks["transformer"]
    weights, in_float32 = (sum(stored_bytes(p) for p in n.parameters()) for n in (network, whole))
    assert 0.25 < weights / in_float32 < 0.35  # a quarter of float32, scales, adapters and norms
    assert {p.dtype for p in one.policy.weights.parameters.values()} == {torch.float32}
    before = {name: p.detach().clone() for name, p in one.policy.weights.parameters.items()}
    metrics = one.iterate()
    assert metrics["first_ratio_error"] < 1e-5
    assert metrics["grad_norm"] > 0
    assert any(not torch.equal(before[name], p) for name, p in one.policy.weights.parameters.items())
    assert all("lora" in name for name in before)


def test_it_draws_nearly_what_the_whole_network_draws() -> None:
    velocities = []
    for settings in (recipe().model, load_recipe("scenes").model):
        model = load_model(settings)
        x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
        conditioning = model.encode(prompts_of(["a red star"]))
        velocities.append(model.velocity(x, torch.tensor([0.9, 0.4]), conditioning[torch.zeros(2, dtype=torch.long)]))
    quantized, whole = velocities
    assert 0 < (quantized - whole).norm() / whole.norm() < 0.05


@pytest.mark.long
def test_the_plan_knows_its_bytes() -> None:
    settings = recipe("speed.keep_text_encoders=true")
    planned = memory_of(trace(settings), settings, Layout(1, 1, "none"))
    counted = held(trainer(settings))["pipeline"]
    parts = ("trained weights", "frozen weights", "buffers", "VAE", "text encoders")
    assert sum(planned.held[name] for name in parts) == pytest.approx(counted, 1e-3)
    assert planned.stages["update"]["a weight that is unpacked"] > 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("tune=full", "trained weights are not; set tune=lora"),
        ("parallel.shard=full", "not shared out or offloaded"),
    ],
)
def test_what_cannot_be_quantized_is_refused(change: str, why: str) -> None:
    changes = [c for c in LORA if change != "tune=full" or not c.startswith(("lora", "tune="))]
    with pytest.raises(ValueError, match=why):
        load_recipe("scenes", [*changes, "model.quantize=int8", change])


def test_a_run_can_be_sampled_from_and_merged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = ["evaluation.prompts=2", "evaluation.steps=2", "model.quantize=int8"]
    called("train", "scenes", *LORA, *small, "--processes", "1", "--out", str(run))
    drawn = []
    for name, checkpoint in (("result", []), ("checkpoint", ["--checkpoint", "last"])):
        out = tmp_path / name
        called("sample", str(run), "a red star", "--out", str(out), "--steps", "4", *checkpoint)
        drawn.append(np.asarray(Image.open(next(out.glob("*.png")))))
    assert np.array_equal(drawn[0], drawn[1])
    called("export", str(run), "--merge")
    assert (run / "transformer" / "config.json").is_file()


def called(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
