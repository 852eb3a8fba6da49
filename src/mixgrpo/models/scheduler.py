"""The noise levels of a pipeline's own scheduler, as a `SigmaGrid`."""

import math

from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from mixgrpo.sampling.schedule import SigmaGrid

from .base import PipelineModel


def scheduler_grid(
    scheduler: FlowMatchEulerDiscreteScheduler, num_steps: int, image_tokens: int, sigmas: list[float] | None
) -> SigmaGrid:
    """What the pipelines compute before their loop. `sigmas`: the unshifted levels that they pass to the scheduler, if
    any. With dynamic shifting the shift grows with the number of image tokens.
    """
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)  # leave the pipeline's own unchanged
    config = scheduler.config
    mu = None
    shift = float(scheduler.shift)
    if config.use_dynamic_shifting:
        mu = calculate_shift(
            image_tokens,
            config.base_image_seq_len,
            config.max_image_seq_len,
            config.base_shift,
            config.max_shift,
        )
        shift = math.exp(mu) if config.time_shift_type == "exponential" else mu
    if sigmas is None:
        scheduler.set_timesteps(num_steps, mu=mu)
    else:
        scheduler.set_timesteps(sigmas=sigmas, mu=mu)
    return SigmaGrid(tuple(scheduler.sigmas.tolist()), shift)


def packed_grid(model: PipelineModel, num_steps: int) -> SigmaGrid:
    """FLUX.1 and Qwen-Image: evenly spaced levels from 1 to 1 / T, and one token per packed latent."""
    even = [1 - i / num_steps for i in range(num_steps)]
    return scheduler_grid(model.pipeline.scheduler, num_steps, model.latent_shape[0], even)
