"""Checks before the first iteration: do this model, this recipe and this machine fit together? A few seconds.

    what is held all the time fits in memory
    the sampler draws what the stock pipeline draws
    rollout and update agree: the first ratio is 1
    the rewards of a group's images differ
    one update changes the weights and an image
    evaluation prompts can be drawn and scored
    on an accelerator: the peak memory of one full micro-batch; on a CPU: whether other work takes its cores, and
    whether it has units for bfloat16
    whether all processes have something to learn from in each mini-batch

The weights are restored afterwards.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import local
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.networks.network_reward import NetworkReward
from mixgrpo.rewards.reward import automatic
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import ode_plan
from mixgrpo.sampling.rollout import rollout
from mixgrpo.training.generation import images_of
from mixgrpo.training.metrics import Metrics
from mixgrpo.training.trainer import Trainer

from . import memory
from .cores import CoreWatch
from .evaluation import evaluate

_STEPS = 4
_TRIES = 4
_EVALUATED = 2  # prompts
_SAME = 1e-3  # relative; bfloat16 alone may reach a few 1e-3
_SAME_BF16 = 5e-2


@dataclass(frozen=True)
class Finding:
    what: str
    detail: str
    ok: bool = True


def preflight(trainer: Trainer, evaluated_on: Sequence[Prompt]) -> Iterator[Finding]:
    """Yields findings as they are made. The caller stops at the first that is not ok."""
    # On the CPU, so that the peak that is measured is the one of training.
    before = {name: local(tensor).to("cpu", copy=True) for name, tensor in trainer.snapshot().tensors.items()}
    device = trainer.model.device
    cores = CoreWatch()
    yield _memory_held(trainer, device)
    if device.type != "cpu":
        torch.get_device_module(device).reset_peak_memory_stats(device)
    yield _like_the_stock_pipeline(trainer)
    image = _image(trainer)
    metrics = _small_iteration(trainer)
    if "first_ratio_error" in metrics and trainer.recipe.objective.clip is not None:
        yield _ratio(trainer.recipe.objective.clip, metrics)
    reward_std = {name: metrics["reward_std"][name] for name in trainer.recipe.weights}
    yield Finding(
        "rewards differ within groups",
        ", ".join(f"{name} by {value:.3g}" for name, value in reward_std.items()),
        any(value > 0 for value in reward_std.values()),
    )
    networks = {name: reward for name, reward in trainer.rewards.items() if isinstance(reward, NetworkReward)}
    if networks:
        detail = ", ".join(f"{name} {_whereabouts(network)}" for name, network in networks.items())
        yield Finding("reward networks are loaded", detail)
    moved = max(
        (local(parameter.detach()).cpu() - before[f"weight/{name}"]).norm(math.inf).item()
        for name, parameter in trainer.policy.weights.parameters.items()
    )
    moved = max(distributed.gather(moved))
    change = (_image(trainer) - image).abs().max().item()
    yield Finding(
        "an update changes the model",
        f"weights by up to {moved:.1e}, an image by up to {change:.1e}",
        moved > 0 and change > 0,
    )
    yield _evaluation(trainer, evaluated_on)
    if device.type != "cpu":
        peak = torch.get_device_module(device).max_memory_allocated(device) / memory.GIB
        available = distributed.device_memory(device) / memory.GIB
        yield Finding("a full micro-batch fits", f"peak {peak:.1f} GiB of {available:.1f}")
    else:
        if busy := cores.advice():
            yield Finding("cores are free", busy)
        if slow := slow_precision(trainer.recipe.model.dtype, torch.backends.cpu.get_cpu_capability()):
            yield Finding("the precision suits this CPU", slow)
    if waiting := waiting_processes(trainer.recipe, distributed.world_size()):
        yield Finding("all processes learn at once", waiting)
    trainer.policy.weights.reset(before)


def waiting_processes(recipe: Recipe, processes: int) -> str | None:
    prompts, update = recipe.rollout.prompts / processes, recipe.update
    if processes == 1 or update.split_groups or prompts >= update.minibatches:
        return None
    return (
        f"{update.minibatches} mini-batches of whole groups, {prompts:g} groups a process: in each some have none and "
        "wait for the others. update.split_groups=true gives all a part"
    )


def slow_precision(dtype: str, capability: str) -> str | None:
    """`capability`: torch's name of a CPU's instructions. Without AVX-512 each bfloat16 is converted by itself."""
    if (dtype, capability) != ("bfloat16", "AVX2"):
        return None
    return "it has no units for bfloat16, which may take 40 times as long as float32: use model.dtype=float32"


def _ratio(clip: float, metrics: Metrics) -> Finding:
    error = metrics["first_ratio_error"]
    advice = "" if error < clip else ": rounding alone clips every ratio; raise objective.clip_range or use float32"
    return Finding(
        "rollout and update agree", f"largest |ratio - 1| {error:.1e}, clip_range {clip:.1e}{advice}", error < clip
    )


def _evaluation(trainer: Trainer, prompts: Sequence[Prompt]) -> Finding:
    """The evaluation itself may come hours later; a prompt that a reward does not understand should not."""
    few = prompts[:_EVALUATED]
    with trainer.precision():
        images = images_of(
            trainer.model,
            trainer.encode,
            few,
            KeyedNoise(trainer.recipe.seed, 0, trainer.model.latent_shape),
            steps=_STEPS,
            micro_batch=trainer.recipe.rollout.micro_batch,
        )
        lenient = trainer.recipe.scoring.model_copy(update={"max_failed_fraction": 1.0})  # too few for a fraction
        scores = evaluate(images, few, automatic(trainer.rewards), lenient, overlap=False).scores
    detail = ", ".join(f"{name} {values.nanmean().item():.3g}" for name, values in scores.items()) or "not scored"
    return Finding(
        "evaluation prompts are drawn and scored",
        f"{detail} on {len(few)} at {_STEPS} steps",
        all(values.isfinite().any() for values in scores.values()),
    )


def _whereabouts(reward: NetworkReward) -> str:
    rest = "" if reward.rests_on == reward.device else f", between calls on {reward.rests_on}"
    return f"{reward.memory / memory.GIB:.2g} GiB on {reward.device}{rest}"


def _memory_held(trainer: Trainer, device: torch.device) -> Finding:
    parts = {name: size for name, size in memory.held(trainer).items() if size}
    total, available = sum(parts.values()), distributed.device_memory(device)
    detail = ", ".join(f"{name} {size / memory.GIB:.2g}" for name, size in parts.items())
    fits = total < available
    return Finding(
        "what is held all the time fits in memory",
        f"{total / memory.GIB:.2g} GiB of {available / memory.GIB:.0f} ({detail})"
        + ("" if fits else ": try tune=lora, or turn update.ema_decay and objective.kl_weight off"),
        fits,
    )


def _image(trainer: Trainer) -> Tensor:
    with trainer.precision():
        noise = KeyedNoise(0, 0, trainer.model.latent_shape)
        images = images_of(trainer.model, trainer.encode, trainer.prompts[:1], noise, steps=_STEPS, micro_batch=1)
        return next(iter(images))[1]


def _small_iteration(trainer: Trainer) -> Metrics:
    """As many groups as fill a micro-batch, in each process; other prompts if all rewards are equal."""
    settings = trainer.recipe.rollout
    size = min(settings.group_size, max(4, settings.micro_batch))
    prompts = min(settings.prompts, distributed.world_size() * -(-settings.micro_batch // size))
    few = settings.model_copy(update={"prompts": prompts, "group_size": size})
    small = trainer.with_recipe(trainer.recipe.model_copy(update={"rollout": few}))
    for _ in range(_TRIES):
        metrics = small.iterate()
        if metrics["skipped_groups"] < prompts:
            break
    return metrics


def _like_the_stock_pipeline(trainer: Trainer) -> Finding:
    """In 16 bits rounding changes some images, the more the smaller the model; a mistake changes all."""
    allowed = _SAME if trainer.recipe.model.dtype == "float32" else _SAME_BF16
    difference = math.inf
    for prompt in trainer.prompts[:_TRIES]:
        difference = min(difference, max(distributed.gather(_distance_to_stock(trainer, prompt))))
        if difference < allowed:
            break
    return Finding(
        "the sampler draws what the stock pipeline draws",
        f"relative difference {difference:.1e}, allowed {allowed:.0e}",
        difference < allowed,
    )


def _distance_to_stock(trainer: Trainer, prompt: Prompt) -> float:
    model, settings = trainer.model, trainer.recipe.model
    noise = KeyedNoise(0, 0, model.latent_shape)
    dtype = next(next(iter(model.networks.values())).parameters()).dtype
    model.pipeline.set_progress_bar_config(disable=True)
    with trainer.precision(), model.with_text_encoders():
        ours = rollout(
            model, ode_plan(model.grid(_STEPS)), trainer.encode([prompt]), noise, group_size=1, micro_batch=1
        ).latents
        stock = model.pipeline(
            prompt=prompt.text,
            height=settings.height,
            width=settings.width,
            num_inference_steps=_STEPS,
            latents=noise.initial(0, None)[None].to(ours.device, dtype),
            output_type="latent",
            return_dict=False,
            **model.stock_options,
        )[0]
        ours = model.stock_latents(ours)
    difference: float = ((ours - stock.float()).norm() / ours.norm()).item()
    return difference
