"""Train the VAE: reconstruct from slightly noisy latents, kept small; then fix their scale."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from diffusers import AutoencoderKL
from torch import nn

from .stream import examples

Log = Callable[..., None]


def fit_vae(vae: AutoencoderKL, steps: int, batch: int, seed: int, log: Log) -> None:
    vae.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_warm_up_and_decay, steps=steps))
    source = (example.picture for example in examples(seed))
    for step in range(steps):
        pictures = torch.stack([*itertools.islice(source, batch)]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(pictures).latent_dist.mode()
            decoded = vae.decode(latents + 0.05 * torch.randn_like(latents)).sample
        error = decoded.float() - pictures
        # Things cover a tenth of a picture: weighed up, or their colours are learned last.
        ground = pictures[:, :, :1, :1]
        weight = 1 + 4 * ((pictures - ground).abs().amax(1, keepdim=True) > 0.05)
        size = latents.float().square().mean()
        loss = (weight * error.square()).mean() + 0.1 * error.abs().mean() + 1e-3 * size
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            psnr = 10 * math.log10(4 / error.square().mean().item())
            log(phase="vae", step=step + 1, loss=loss.item(), psnr=psnr, size=size.item())
    vae.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    with torch.no_grad():
        latents = vae.encode(torch.stack([*itertools.islice(source, 512)])).latent_dist.mean
    vae.register_to_config(scaling_factor=1 / latents.std().item(), shift_factor=latents.mean().item())


def _warm_up_and_decay(step: int, steps: int) -> float:
    """Linearly up over the first 4%, then down along a cosine to 1%."""
    warm_up = max(1, steps // 25)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))
