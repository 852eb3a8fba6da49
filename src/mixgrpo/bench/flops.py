"""How much of the chip's matrix throughput is used."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.schema import Recipe
from mixgrpo.training.trainer import Trainer

from .timing import IterationTiming, median_seconds

_MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}


def flops_per_row(trainer: Trainer) -> int:
    """Of the matrix products and attentions in a forward pass of one row."""
    model = trainer.model
    conditioning = trainer.encode([Prompt("a", {})])
    latents = torch.zeros(1, *model.latent_shape, device=model.device)
    with torch.no_grad(), trainer.precision(), FlopCounterMode(display=False) as counter:
        model.velocity(latents, torch.full((1,), 0.5, device=model.device), conditioning)
    total: int = counter.get_total_flops()
    return total


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product: what the chip reaches, rather than its data sheet."""
    size = _MATRIX_SIZE[device.type]
    matrix = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / median_seconds(lambda: torch.mm(matrix, matrix), device)


def achieved(timing: IterationTiming, row: int, recipe: Recipe) -> dict[str, float]:
    """FLOP/s in rollout and update, with `row` FLOP per row. A forward-backward counts as three forward passes, or two
    if the base is frozen; gradient checkpointing adds one.
    """
    passes = (2 if recipe.tune == "lora" else 3) + recipe.update.gradient_checkpointing
    return {
        "rollout": timing.rollout_rows * row / timing.rollout,
        "update": timing.update_rows * row * passes / timing.update,
    }
