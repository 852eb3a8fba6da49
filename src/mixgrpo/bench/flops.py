"""How much of what the chip can multiply a measurement made use of."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from mixgrpo.recipe.schema import Recipe
from mixgrpo.training.trainer import Trainer

from .setup import Ground
from .timing import Lap, median_seconds

_SIDE = {"cpu": 2048, "cuda": 8192}


def flops_a_row(ground: Ground, trainer: Trainer) -> int:
    """Of the matrix products and attentions in one forward of one row."""
    told = trainer.encode(["a"])
    latents = torch.zeros(1, *trainer.model.latent_shape, device=ground.device)
    with torch.no_grad(), trainer.precision(), FlopCounterMode(display=False) as counter:
        trainer.model.velocity(latents, torch.full((1,), 0.5, device=ground.device), told)
    total: int = counter.get_total_flops()
    return total


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square product: what can be had on this chip, whatever its data sheet says."""
    side = _SIDE[device.type]
    factor = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / median_seconds(lambda: torch.mm(factor, factor), device)


def achieved(one: Lap, row: int, recipe: Recipe) -> tuple[float, float]:
    """FLOP/s in rollout and update. A forward-backward is three forwards, or two where the base is frozen; one more
    where activations are computed anew.
    """
    passes = (2 if recipe.tune == "lora" else 3) + recipe.update.checkpointing
    return one.rollout_rows * row / one.rollout, one.update_rows * row * passes / one.update
