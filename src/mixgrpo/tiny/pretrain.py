"""Make the tiny FLUX from nothing: first its VAE, then text encoders and transformer together.

    make pretrain

Everything is drawn from the seed: scenes from the training stream, noise, times. The flow is trained in two
phases. First velocity matching, v = noise - image, with a caption in ten left out. Then, as FLUX.1-dev was
made, guidance distillation: the network learns, for a guidance scale it is told, what classifier-free
guidance of its own earlier self would say.
"""

import copy
import itertools
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from diffusers import FluxPipeline
from torch import Tensor, nn
from torch.nn import functional

from .build import TEXT_TOKENS, build
from .prompts import train_requests
from .render import SIZE, compose, draw
from .world import caption


@dataclass(frozen=True)
class Budget:
    """How much is trained. The shipped weights come from the defaults."""

    seed: int = 0
    vae_steps: int = 2500
    vae_batch: int = 16
    scenes: int = 65_536
    flow_steps: int = 4600
    distillation_steps: int = 500
    flow_batch: int = 64


Log = Callable[..., None]


def pretrain(folder: Path, budget: Budget) -> FluxPipeline:
    """Train, and save the pipeline with its log into `folder`."""
    torch.manual_seed(budget.seed)
    pipeline = build()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pretrain.jsonl").open("w", encoding="utf-8") as file:
        begin = time.monotonic()

        def log(**values: float | str) -> None:
            line = {**values, "seconds": round(time.monotonic() - begin, 1)}
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(
                "  ".join(
                    f"{key} {value:.5g}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in line.items()
                ),
                flush=True,
            )

        train_vae(pipeline, budget, log)
        train_flow(pipeline, budget, log)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline


def scenes(seed: int) -> Iterator[tuple[str, Tensor]]:
    """Captions with their pictures, [3, 64, 64] in [-1, 1]."""
    rng = random.Random(seed)
    for request in train_requests(seed):
        picture = torch.from_numpy(draw(compose(request, rng)).copy())
        yield caption(request), picture.permute(2, 0, 1).float() / 127.5 - 1


def train_vae(pipeline: FluxPipeline, budget: Budget, log: Log) -> None:
    """Reconstruct from slightly noisy latents, kept small; then fix their scale."""
    vae = pipeline.vae.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(warm_up_and_decay, steps=budget.vae_steps))
    source = scenes(budget.seed + 1)
    for step in range(budget.vae_steps):
        pictures = torch.stack([picture for _, picture in itertools.islice(source, budget.vae_batch)])
        pictures = pictures.contiguous(memory_format=torch.channels_last)
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
        if step % 100 == 99:
            psnr = 10 * math.log10(4 / error.square().mean().item())
            log(phase="vae", step=step + 1, loss=loss.item(), psnr=psnr, size=size.item())
    vae.to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    with torch.no_grad():
        pictures = torch.stack([picture for _, picture in itertools.islice(source, 512)])
        latents = vae.encode(pictures).latent_dist.mean
    vae.register_to_config(scaling_factor=1 / latents.std().item(), shift_factor=latents.mean().item())


def train_flow(pipeline: FluxPipeline, budget: Budget, log: Log) -> None:
    latents, captions = encode_scenes(pipeline, budget)
    log(phase="encode", step=len(latents))
    tokens = tokenize(pipeline, captions)
    nothing = tokenize(pipeline, [""])
    network = nn.ModuleList([pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2])
    network.train().requires_grad_(True)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    teacher = average
    generator = torch.Generator().manual_seed(budget.seed)
    image_ids = pipeline._prepare_latent_image_ids(1, SIZE // 8, SIZE // 8, "cpu", torch.float32)
    order: list[int] = []

    for phase, steps, peak in (("flow", budget.flow_steps, 1.2e-3), ("distillation", budget.distillation_steps, 5e-4)):
        optimizer = torch.optim.AdamW(network.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(warm_up_and_decay, steps=steps))
        if phase == "distillation":
            network.load_state_dict(average.state_dict())
            teacher = copy.deepcopy(average)
        smoothed = None
        for step in range(steps):
            if len(order) < budget.flow_batch:
                order = torch.randperm(len(latents), generator=generator).tolist()
            rows, order = torch.tensor(order[: budget.flow_batch]), order[budget.flow_batch :]
            image, told = latents[rows], [kind[rows] for kind in tokens]
            count = len(rows)
            noise = torch.randn(image.shape, generator=generator)
            sigma = torch.sigmoid(torch.randn(count, generator=generator) + 0.3)
            x = torch.lerp(image, noise, sigma.view(-1, 1, 1))
            guidance = torch.ones(count)
            untold = [kind.expand(count, -1) for kind in nothing]
            if phase == "flow":
                dropped = torch.rand(count, generator=generator) < 0.1
                told = [torch.where(dropped[:, None], none, kind) for none, kind in zip(untold, told, strict=True)]
                target = noise - image
            else:
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    conditional = velocity(teacher, x, sigma, guidance, told, image_ids).float()
                    unconditional = velocity(teacher, x, sigma, guidance, untold, image_ids).float()
                guidance = 1 + 4 * torch.rand(count, generator=generator)
                target = unconditional + guidance.view(-1, 1, 1) * (conditional - unconditional)
            with torch.autocast("cpu", torch.bfloat16):
                predicted = velocity(network, x, sigma, guidance, told, image_ids)
            loss = functional.mse_loss(predicted.float(), target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            decay = min(0.998, (step + 1) / (step + 10))
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
            smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()
            if step % 50 == 49:
                log(phase=phase, step=step + 1, loss=smoothed)
    network.load_state_dict(average.state_dict())
    network.eval().requires_grad_(False)


@torch.no_grad()
def encode_scenes(pipeline: FluxPipeline, budget: Budget) -> tuple[Tensor, list[str]]:
    """Latents as the transformer sees them, [scenes, 64, 16], and their captions."""
    vae = pipeline.vae
    source = itertools.islice(scenes(budget.seed + 2), budget.scenes)
    latents: list[Tensor] = []
    captions: list[str] = []
    while batch := list(itertools.islice(source, 256)):
        texts, pictures = zip(*batch, strict=True)
        captions += texts
        with torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(torch.stack(pictures)).latent_dist.mean.float()
        encoded = (encoded - vae.config.shift_factor) * vae.config.scaling_factor
        latents.append(pipeline._pack_latents(encoded, len(batch), *encoded.shape[1:]))
    return torch.cat(latents), captions


def tokenize(pipeline: FluxPipeline, captions: list[str]) -> list[Tensor]:
    """Token ids for both text encoders, padded as the pipeline pads them."""
    return [
        tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        for tokenizer, length in ((pipeline.tokenizer, 77), (pipeline.tokenizer_2, TEXT_TOKENS))
    ]


def velocity(
    network: nn.ModuleList, x: Tensor, sigma: Tensor, guidance: Tensor, tokens: list[Tensor], image_ids: Tensor
) -> Tensor:
    """The pipeline's own computation, from token ids, differentiable throughout."""
    transformer, clip, t5 = network
    predicted: Tensor = transformer(
        hidden_states=x,
        timestep=sigma,
        guidance=guidance,
        pooled_projections=clip(tokens[0]).pooler_output,
        encoder_hidden_states=t5(tokens[1])[0],
        txt_ids=torch.zeros(tokens[1].shape[1], 3),
        img_ids=image_ids,
        return_dict=False,
    )[0]
    return predicted


def warm_up_and_decay(step: int, steps: int) -> float:
    """Linearly up over the first 4%, then down along a cosine to 1%."""
    warm_up = max(1, steps // 25)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


if __name__ == "__main__":
    pretrain(Path(sys.argv[1]), Budget())
