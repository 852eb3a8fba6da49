"""Train the tiny FLUX from scratch: the VAE, the text encoders, the flow, then the decoder again.

    make pretrain

Everything random depends on the seed alone: the scenes of the training stream, the noise, the noise levels.
"""

import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FluxPipeline

from mixgrpo.scenes.captions import KINDS
from mixgrpo.scenes.prompts import train_requests

from .build import build
from .fit_flow import encode_examples, fit_flow
from .fit_text import fit_text
from .fit_vae import fit_vae, sharpen_decoder
from .report import accuracy, adapt_tiny, sample, sample_grid


@dataclass(frozen=True)
class Budget:
    """The amount of training. The shipped weights were trained with the defaults."""

    seed: int = 0
    vae_steps: int = 1500
    vae_batch: int = 16
    decoder_steps: int = 1000
    text_steps: int = 300
    text_batch: int = 128
    scenes: int = 65_536
    flow_steps: int = 3500
    distillation_steps: int = 400
    flow_batch: int = 64


def pretrain(folder: Path, budget: Budget) -> FluxPipeline:
    """Train, and save the pipeline and its log in `folder`."""
    torch.manual_seed(budget.seed)
    pipeline = build()
    folder.mkdir(parents=True, exist_ok=True)
    # For the evaluation during training: further requests of the training stream, never the held-out set.
    requests = [*itertools.islice(train_requests(budget.seed + 3), 16 * len(KINDS))]
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

        def on_checkpoint(step: int, pipeline: FluxPipeline) -> None:
            images = sample(adapt_tiny(pipeline, guidance=1.0), requests)
            result = accuracy(requests, images)
            sample_grid(requests[:24], images[:24]).save(folder / f"samples-{step:05}.png")
            log(phase="evaluation", step=step, **{name: row["strict"] for name, row in result.items()})

        fit_vae(pipeline.vae, budget.vae_steps, budget.vae_batch, budget.seed + 1, log)
        fit_text(pipeline, budget.text_steps, budget.text_batch, budget.seed + 4, log)
        data = encode_examples(pipeline, budget.scenes, budget.seed + 2)
        log(phase="encode", step=budget.scenes)
        fit_flow(
            pipeline,
            data,
            budget.flow_steps,
            budget.distillation_steps,
            budget.flow_batch,
            budget.seed,
            log,
            on_checkpoint,
        )
        sharpen_decoder(pipeline.vae, budget.decoder_steps, budget.vae_batch, budget.seed + 5, log)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline


if __name__ == "__main__":
    pretrain(Path(sys.argv[1]), Budget())
