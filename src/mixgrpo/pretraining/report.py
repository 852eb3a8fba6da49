"""Report on the tiny model: accuracy per kind on the held-out set, VAE quality, sample images and loss curves.

python -m mixgrpo.pretraining.report FOLDER
"""

import itertools
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt
from mixgrpo.models.text_cache import encoder_of
from mixgrpo.recipe.sections import SpeedConfig
from mixgrpo.runs.intervals import wilson
from mixgrpo.runs.sheet import Tile, sheet
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.scenes.analysis import Pixels
from mixgrpo.scenes.captions import KINDS, Request, caption
from mixgrpo.scenes.prompts import evaluation_requests, train_requests, unseen
from mixgrpo.scenes.render import SIZE, compose, draw
from mixgrpo.scenes.verifier import graded, strict
from mixgrpo.training.generation import images_of
from mixgrpo.training.scoring import to_pil

from .build import TEXT_TOKENS

STEPS = 20
GUIDANCE = 3.5
MICRO_BATCH = 32
_RIGHT, _WRONG = (40, 160, 60), (220, 40, 40)


def adapt_tiny(pipeline: FluxPipeline, guidance: float = GUIDANCE) -> FlowModel:
    return adapt(pipeline, SIZE, SIZE, guidance, TEXT_TOKENS)


def sample(model: FlowModel, requests: Sequence[Request], seed: int = 0, steps: int = STEPS) -> list[Pixels]:
    """One image per request, by Euler steps on the model's own grid."""
    prompts = prompts_of(caption(request) for request in requests)
    encode = encoder_of(model, SpeedConfig(), MICRO_BATCH)
    noise = KeyedNoise(seed, 0, model.latent_shape)
    images = images_of(model, encode, prompts, noise, steps=steps, micro_batch=MICRO_BATCH)
    return [np.asarray(image) for _, frames in images for image in to_pil(frames[:, 0])]


@torch.no_grad()
def reconstruction(pipeline: FluxPipeline, count: int = 1400, seed: int = 31) -> dict[str, float]:
    """Rendered images, encoded and decoded by the VAE: their PSNR and the fraction that the verifiers still accept."""
    rng = random.Random(seed)
    requests = [*itertools.islice(train_requests(seed), count)]
    rendered = torch.from_numpy(np.stack([draw(compose(request, rng)) for request in requests])).permute(0, 3, 1, 2)
    errors: list[Tensor] = []
    accepted: list[bool] = []
    for batch in torch.split(rendered.float() / 255, 50):
        latents = pipeline.vae.encode(2 * batch - 1).latent_dist.mode()
        decoded = (pipeline.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
        errors.append((decoded - batch).square().mean((1, 2, 3)))
        images = (decoded * 255).round().byte().permute(0, 2, 3, 1).numpy()
        accepted += [strict(*pair) for pair in zip(images, requests[len(accepted) :], strict=False)]
    accepted_words = [ok for ok, request in zip(accepted, requests, strict=True) if request.word is not None]
    return {
        "psnr": float(-10 * torch.cat(errors).log10().mean()),
        "accepted": sum(accepted) / count,
        "words_accepted": sum(accepted_words) / len(accepted_words),
    }


def accuracy(requests: Sequence[Request], images: Sequence[Pixels]) -> dict[str, Any]:
    """Mean strict and graded scores: per kind, over all images, and over those with an unseen colour-shape pair."""
    scores = [(strict(i, r), graded(i, r)) for r, i in zip(requests, images, strict=True)]
    groups: dict[str, list[bool]] = {kind: [request.kind == kind for request in requests] for kind in KINDS}
    groups |= {"overall": [True] * len(requests), "never together": [unseen(request) for request in requests]}
    return {
        name: _summary([score for score, member in zip(scores, members, strict=True) if member])
        for name, members in groups.items()
        if any(members)
    }


def _summary(scores: Sequence[tuple[bool, float]]) -> dict[str, Any]:
    """The mean scores, with the 95% interval of the strict one."""
    count, right = len(scores), sum(ok for ok, _ in scores)
    return {
        "prompts": count,
        "strict": right / count,
        "interval": [*wilson(right, count)],
        "graded": sum(partial for _, partial in scores) / count,
    }


def show(result: dict[str, Any]) -> None:
    table = Table(box=None)
    for name in ("kind", "prompts", "strict", "95% interval", "graded"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for name, row in result.items():
        low, high = row["interval"]
        table.add_row(
            name, str(row["prompts"]), f"{row['strict']:.1%}", f"{low:.1%} - {high:.1%}", f"{row['graded']:.3f}"
        )
    Console(highlight=False).print(table)


def sample_grid(requests: Sequence[Request], images: Sequence[Pixels]) -> Image.Image:
    """The images with their captions. Correct ones are underlined in green, the others in red."""
    tiles = [
        Tile([Image.fromarray(image)], caption(request), [_RIGHT if strict(image, request) else _WRONG])
        for request, image in zip(requests, images, strict=True)
    ]
    return sheet(tiles, columns=6)


def loss_curve(log: Path) -> Image.Image:
    """The losses of the three phases side by side, each on its own logarithmic axis."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    width, height, pad = 320, 220, 40
    chart = Image.new("RGB", (3 * (width + pad) + pad, height + 2 * pad), "white")
    canvas, font = ImageDraw.Draw(chart), ImageFont.load_default(size=12)
    for i, phase in enumerate(("vae", "flow", "distillation")):
        points = [(line["step"], line["loss"]) for line in lines if line["phase"] == phase]
        steps, losses = np.array([p[0] for p in points]), np.log([p[1] for p in points])
        low, high = losses.min(), losses.max() + 1e-9
        left = pad + i * (width + pad)
        xs = left + width * steps / steps.max()
        ys = pad + height * (1 - (losses - low) / (high - low))
        canvas.rectangle((left, pad, left + width, pad + height), outline=(200, 200, 200))
        canvas.line([*zip(xs.tolist(), ys.tolist(), strict=True)], fill=(50, 90, 235), width=2)
        canvas.text(
            (left, pad - 18), f"{phase}: loss {math.exp(high):.3g} to {math.exp(losses[-1]):.3g}", "black", font
        )
        canvas.text((left, pad + height + 6), f"{steps.max()} steps", "black", font)
    return chart


def main(folder: Path) -> None:
    begin = time.perf_counter()
    pipeline = FluxPipeline.from_pretrained(folder)
    model = adapt_tiny(pipeline)
    load_seconds = time.perf_counter() - begin
    requests = evaluation_requests()
    begin = time.perf_counter()
    images = sample(model, requests)
    result = accuracy(requests, images)
    show(result)
    seconds = (time.perf_counter() - begin) / len(requests)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    facts = {"megabytes": size / 1e6, "load_seconds": load_seconds, "seconds_per_image": seconds, "steps": STEPS}
    print("  ".join(f"{name} {value:.3g}" for name, value in facts.items()))
    reconstructed = reconstruction(pipeline)
    print("VAE reconstruction: ", "  ".join(f"{name} {value:.4g}" for name, value in reconstructed.items()))
    report = {**facts, "accuracy": result, "through_the_vae": reconstructed}
    (folder / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    chosen = [*range(0, len(requests), len(requests) // 24)][:24]
    sample_grid([requests[i] for i in chosen], [images[i] for i in chosen]).save(folder / "samples.png")
    loss_curve(folder / "pretrain.jsonl").save(folder / "curve.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
