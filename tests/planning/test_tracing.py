"""What is traced without memory is compared with the bytes that the CPU's allocator counts in a real pass."""

from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import pipelines
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import load_model
from mixgrpo.planning.tracing import trace
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.schema import Recipe
from mixgrpo.training.policy import make_trainable, masters

ROWS = 8
CHECKPOINTING = "update.gradient_checkpointing=true"


def counted_peak(recipe: Recipe) -> int:
    """Bytes that one forward and backward pass takes at most, where gradients have their room already."""
    model = load_model(recipe.model)
    make_trainable(model, recipe)
    conditioning = model.encode(prompts_of(["a red circle"]))[torch.zeros(ROWS, dtype=torch.long)]
    latents, sigma = torch.zeros(ROWS, *model.latent_shape), torch.full((ROWS,), 0.5)
    for network in model.networks.values():
        masters(network)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model.velocity(latents, sigma, conditioning).square().mean().backward()  # type: ignore[no-untyped-call]
    result = profiler.profiler.kineto_results
    totals = [event.nbytes() for event in result.events() if event.name() == "[memory]"]
    live = peak = 0
    for change in totals:
        live += change
        peak = max(peak, live)
    return peak


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ("tiny", ["tune=full", CHECKPOINTING]),
        ("20M", ["tune=lora"]),
        *(
            pytest.param(size, changes, marks=pytest.mark.long)
            for size, changes in [
                ("tiny", ["tune=full"]),
                ("tiny", ["tune=lora"]),
                ("tiny", ["tune=lora", CHECKPOINTING]),
                ("20M", ["tune=full"]),
                ("20M", ["tune=full", CHECKPOINTING]),
                ("20M", ["tune=lora", CHECKPOINTING]),
            ]
        ),
    ],
)
def test_the_traced_peak_is_the_counted_one(size: str, changes: list[str], tmp_path: Path) -> None:
    """At depths of which blocks are left out."""
    if size == "20M":
        pipelines.flux(layers=2, single_layers=4, heads=24).save_pretrained(tmp_path)
        changes = [*changes, f"model.path={tmp_path}", "prompts=scenes", "rewards={scenes: 1}"]
    recipe = load_recipe("scenes", [*changes, f"rollout.micro_batch={ROWS}"])
    counted, traced = counted_peak(recipe), trace(recipe).learn.peak(ROWS)
    print(f"{size} {' '.join(changes[:2])}: counted {counted / 2**20:.1f} MiB, traced {traced / 2**20:.1f} MiB")
    assert traced == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize("setting", ["vae_slicing", "vae_tiling"])
def test_decoding_in_parts_takes_less_memory(setting: str) -> None:
    changes = ["model.height=128", "model.width=128", "prompts=scenes", "rewards={scenes: 1}"]
    recipe = load_recipe("scenes", changes)
    at_once, parts = (trace(recipe).decode, trace(load_recipe("scenes", [*changes, f"model.{setting}=true"])).decode)
    assert parts.peak(ROWS) < 0.6 * at_once.peak(ROWS)


def test_a_network_that_reads_values_is_refused_before_it_is_loaded() -> None:
    recipe = load_recipe("qwen-image-ocr-lora", ["model.path=Qwen/Qwen-Image-2.1"])
    with pytest.raises(ValueError, match="QwenImage21Pipeline cannot be planned: its network reads"):
        trace(recipe)
