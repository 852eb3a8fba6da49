"""Prompts to PNG files, with a run's tuned model."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.text_cache import encoder_of
from mixgrpo.parallel import distributed
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.generation import images_of
from mixgrpo.training.scoring import to_pil

from .tuned import hybrid, load_tuned


def sample_to_files(
    run: Path, texts: Sequence[str], out: Path, *, steps: int, seed: int, fraction: float, checkpoint: str | None = None
) -> Iterator[Path]:
    """Yields the paths as the files are written; settings.json records how they were made."""
    tuned = load_tuned(run, distributed.device(), checkpoint)
    recipe, prompts = tuned.recipe, prompts_of(texts)
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "run": str(run),
        "prompts": [*texts],
        "steps": steps,
        "seed": seed,
        "hybrid": fraction,
        "checkpoint": checkpoint,
    }
    (out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    images = images_of(
        tuned.model,
        encoder_of(tuned.model, recipe.speed, recipe.rollout.micro_batch),
        prompts,
        KeyedNoise(seed, 0, tuned.model.latent_shape),
        steps=steps,
        micro_batch=recipe.rollout.micro_batch,
        field=hybrid(tuned, fraction, steps),
    )
    for numbers, pixels in images:
        for i, frames in zip(numbers, pixels, strict=True):
            name = f"{i:03}-{re.sub(r'[^a-zA-Z0-9]+', '-', texts[i]).strip('-')[:60]}"
            pictures = to_pil(frames)
            for number, picture in enumerate(pictures):
                path = out / (f"{name}.png" if len(pictures) == 1 else f"{name}-{number:03}.png")
                picture.save(path)
                yield path
