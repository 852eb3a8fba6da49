"""The noise levels of a pipeline's own scheduler, as a `SigmaGrid`."""

import math
from collections.abc import Sequence

from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from mixgrpo.sampling.schedule import SigmaGrid

from .base import PipelineModel


def scheduler_grid(
    scheduler: FlowMatchEulerDiscreteScheduler, num_steps: int, mu: float, sigmas: list[float] | None
) -> SigmaGrid:
    """What the pipelines compute before their loop. `sigmas`: the unshifted levels that they pass to the scheduler, if
    any. `mu`: the shift, if the scheduler has none of its own.
    """
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)  # leave the pipeline's own unchanged
    config = scheduler.config
    shift = float(scheduler.shift)
    if config.use_dynamic_shifting:
        shift = math.exp(mu) if config.time_shift_type == "exponential" else mu
    if sigmas is None:
        scheduler.set_timesteps(num_steps, mu=mu)
    else:
        scheduler.set_timesteps(sigmas=sigmas, mu=mu)
    return SigmaGrid(tuple(scheduler.sigmas.tolist()), shift)


def mu_by_tokens(scheduler: FlowMatchEulerDiscreteScheduler, image_tokens: int) -> float:
    """It grows with the size of the image."""
    config = scheduler.config
    mu: float = calculate_shift(
        image_tokens, config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
    )
    return mu


def even(num_steps: int) -> list[float]:
    """Levels from 1 to 1 / T."""
    return [1 - i / num_steps for i in range(num_steps)]


def packed_grid(model: PipelineModel, num_steps: int, sigmas: Sequence[float] | None = None) -> SigmaGrid:
    """FLUX.1 and both Qwen-Images: latents are tokens. `sigmas`: unshifted levels in place of even ones."""
    scheduler = model.pipeline.scheduler
    return scheduler_grid(
        scheduler, num_steps, mu_by_tokens(scheduler, model.latent_shape[0]), [*(sigmas or even(num_steps))]
    )
