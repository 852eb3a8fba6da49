"""Before the first iteration: do this model, this recipe and this machine fit together? A few seconds, line by line.

    the sampler draws what the stock pipeline draws
    rollout and update agree: the first ratio is 1
    the rewards tell the images of a group apart; what those that are networks take
    one update changes the weights, and the image
    memory: what is always held, before anything is tried; the peak after one full micro-batch, on a GPU

The weights are put back afterwards.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.parallel import distributed
from mixgrpo.rewards.networks.network_reward import ModelReward
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import ode_plan
from mixgrpo.sampling.rollout import rollout
from mixgrpo.training.trainer import Metrics, Trainer

from . import memory
from .evaluation import draw_pictures

_STEPS = 4
_TRIES = 4
_SAME = 1e-3  # relative; bfloat16 alone may reach a few 1e-3
_SAME_BF16 = 5e-2


@dataclass(frozen=True)
class Finding:
    what: str
    detail: str
    fits: bool = True


def preflight(trainer: Trainer) -> Iterator[Finding]:
    """Findings as they are made. The first that does not fit ends the flight."""
    before = trainer.snapshot().tensors
    before = {name: tensor.clone() for name, tensor in before.items()}
    device = next(trainer.model.transformer.parameters()).device
    yield _memory_held(trainer, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    yield _like_the_stock_pipeline(trainer)
    image = _picture(trainer)
    metrics = _small_iteration(trainer)
    clip, gap = trainer.recipe.update.clip_range, metrics["first_gap"]
    yield Finding(
        "rollout and update agree",
        f"largest |ratio - 1| {gap:.1e}, clip_range {clip:.1e}"
        + ("" if gap < clip else ": every ratio is clipped by rounding; raise update.clip_range or use float32"),
        gap < clip,
    )
    spread = {name: metrics["spread"][name] for name in trainer.recipe.weights}
    yield Finding(
        "rewards differ within groups",
        ", ".join(f"{name} by {value:.3g}" for name, value in spread.items()),
        any(value > 0 for value in spread.values()),
    )
    networks = {name: reward for name, reward in trainer.rewards.items() if isinstance(reward, ModelReward)}
    if networks:
        detail = ", ".join(f"{name} {_whereabouts(network)}" for name, network in networks.items())
        yield Finding("the rewards' networks are loaded", detail)
    moved = max(
        (parameter.detach() - before[f"weight/{name}"]).abs().max().item()
        for name, parameter in trainer.parameters.items()
    )
    change = (_picture(trainer) - image).abs().max().item()
    yield Finding(
        "an update changes the model",
        f"weights by up to {moved:.1e}, a picture by up to {change:.1e}",
        moved > 0 and change > 0,
    )
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / memory.GIB
        yield Finding("a full micro-batch fits", f"peak {peak:.1f} GiB of {memory.available(device) / memory.GIB:.1f}")
    trainer.forget(before)


def _whereabouts(reward: ModelReward) -> str:
    rest = "" if reward.rests_on == reward.device else f", resting on {reward.rests_on}"
    return f"{reward.memory / memory.GIB:.2g} GiB on {reward.device}{rest}"


def _memory_held(trainer: Trainer, device: torch.device) -> Finding:
    parts = {name: size for name, size in memory.held(trainer).items() if size}
    total, available = sum(parts.values()), memory.available(device)
    detail = ", ".join(f"{name} {size / memory.GIB:.2g}" for name, size in parts.items())
    fits = total < available
    return Finding(
        "what is always held fits in memory",
        f"{total / memory.GIB:.2g} GiB of {available / memory.GIB:.0f} ({detail})"
        + ("" if fits else ": try tune=lora, or update.ema and update.kl off"),
        fits,
    )


def _picture(trainer: Trainer) -> Tensor:
    with trainer.precision():
        return draw_pictures(trainer.model, trainer.prompts[:1], steps=_STEPS, seed=0, micro_batch=1)[0]


def _small_iteration(trainer: Trainer) -> Metrics:
    """As many groups as fill a micro-batch, in each process; other prompts where all rewards are equal."""
    recipe, settings = trainer.recipe, trainer.recipe.rollout
    size = min(settings.group_size, max(4, settings.micro_batch))
    prompts = min(settings.prompts, distributed.world_size() * -(-settings.micro_batch // size))
    few = settings.model_copy(update={"prompts": prompts, "group_size": size})
    trainer.recipe = recipe.model_copy(update={"rollout": few})
    try:
        for _ in range(_TRIES):
            metrics = trainer.iterate()
            if metrics["skipped_groups"] < prompts:
                break
    finally:
        trainer.recipe = recipe
    return metrics


def _like_the_stock_pipeline(trainer: Trainer) -> Finding:
    """In 16 bits rounding carries some pictures away, the more the smaller the model; a mistake carries away all."""
    allowed = _SAME if trainer.recipe.model.dtype == "float32" else _SAME_BF16
    difference = math.inf
    for prompt in trainer.prompts[:_TRIES]:
        difference = min(difference, _distance_to_stock(trainer, prompt.text))
        if difference < allowed:
            break
    return Finding("the sampler is the stock pipeline's", f"relative difference {difference:.1e}", difference < allowed)


def _distance_to_stock(trainer: Trainer, prompt: str) -> float:
    model, settings = trainer.model, trainer.recipe.model
    noise = KeyedNoise(0, 0, model.latent_shape)
    model.pipeline.set_progress_bar_config(disable=True)
    with trainer.precision():
        ours = rollout(
            model, ode_plan(model.grid(_STEPS)), model.encode([prompt]), noise, group_size=1, micro_batch=1
        ).latents
        stock = model.pipeline(
            prompt,
            height=settings.height,
            width=settings.width,
            num_inference_steps=_STEPS,
            latents=noise.initial(0, None)[None].to(ours.device, model.transformer.dtype),
            output_type="latent",
            return_dict=False,
            **model.stock_options,
        )[0]
    difference: float = ((ours - stock.float()).norm() / ours.norm()).item()
    return difference
