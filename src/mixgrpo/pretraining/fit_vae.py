"""Train the VAE: reconstruct images from small, slightly noisy latents, then set the latents' scale and shift."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .stream import examples

Log = Callable[..., None]


def fit_vae(vae: AutoencoderKL, steps: int, batch: int, seed: int, log: Log) -> None:
    source = (example.image for example in examples(seed))
    _fit(vae, [*vae.parameters()], source, steps, batch, 3e-3, partial(log, phase="vae"))
    with torch.no_grad():
        latents = vae.encode(torch.stack([*itertools.islice(source, 512)])).latent_dist.mean
    vae.register_to_config(scaling_factor=1 / latents.std().item(), shift_factor=latents.mean().item())


def sharpen_decoder(vae: AutoencoderKL, steps: int, batch: int, seed: int, log: Log) -> None:
    """Continue training the decoder alone. The meaning of the latents, which the flow has learned, does not change."""
    torch.manual_seed(seed)  # reproducible without repeating the earlier phases
    source = (example.image for example in examples(seed))
    _fit(vae, [*vae.decoder.parameters()], source, steps, batch, 1.5e-3, partial(log, phase="decoder"))


def _fit(
    vae: AutoencoderKL,
    parameters: Sequence[nn.Parameter],
    source: Iterator[Tensor],
    steps: int,
    batch: int,
    rate: float,
    log: Log,
) -> None:
    vae.to(memory_format=torch.channels_last)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_warm_up_and_decay, steps=steps))
    for step in range(steps):
        images = torch.stack([*itertools.islice(source, batch)]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(images).latent_dist.mode()
            decoded = vae.decode(latents + 0.05 * torch.randn_like(latents)).sample
        error = decoded.float() - images
        # Shapes cover a tenth of an image. Without a higher weight their colours are learned last.
        background = images[:, :, :1, :1]
        weight = 1 + 4 * ((images - background).abs().amax(1, keepdim=True) > 0.05)
        size = latents.float().square().mean()
        loss = (weight * error.square()).mean() + 0.1 * error.abs().mean() + 1e-3 * size
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            psnr = 10 * math.log10(4 / error.square().mean().item())
            log(step=step + 1, loss=loss.item(), psnr=psnr, size=size.item())
    vae.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)


def _warm_up_and_decay(step: int, steps: int) -> float:
    """Linear warm-up over the first 4% of the steps, then cosine decay to 1%."""
    warm_up = max(1, steps // 25)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))
