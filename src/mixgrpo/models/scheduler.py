"""The noise levels a pipeline's own scheduler would walk, as a `SigmaGrid`."""

import math

from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from mixgrpo.sampling.schedule import SigmaGrid


def scheduler_grid(
    scheduler: FlowMatchEulerDiscreteScheduler, num_steps: int, image_tokens: int, sigmas: list[float] | None
) -> SigmaGrid:
    """What the pipelines compute before their loop: `sigmas` are the unshifted levels they hand over, if any.

    With dynamic shifting, the shift grows with the number of image tokens.
    """
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)  # the pipeline's own stays as it is
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


def even_sigmas(num_steps: int) -> list[float]:
    """1 down to 1 / T: what FLUX and Qwen-Image hand to their scheduler."""
    return [1 - i / num_steps for i in range(num_steps)]
