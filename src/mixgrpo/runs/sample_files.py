"""Prompts to PNG files, with a run's tuned model."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from mixgrpo.data.prompts import prompts_of
from mixgrpo.parallel import distributed
from mixgrpo.training.scoring import to_pil

from .evaluation import draw_pictures
from .tuned import hybrid, load_tuned


def sample_to_files(
    run: Path, prompts: Sequence[str], out: Path, *, steps: int, seed: int, share: float
) -> Iterator[Path]:
    """The paths as they are written; settings.json beside them says how they were made."""
    tuned = load_tuned(run, distributed.device())
    images = draw_pictures(
        tuned.model,
        prompts_of(prompts),
        steps=steps,
        seed=seed,
        micro_batch=tuned.recipe.rollout.micro_batch,
        field=hybrid(tuned, share, steps),
    )
    out.mkdir(parents=True, exist_ok=True)
    settings = {"run": str(run), "prompts": [*prompts], "steps": steps, "seed": seed, "hybrid": share}
    (out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for i, (prompt, image) in enumerate(zip(prompts, to_pil(torch.stack(images)), strict=True)):
        path = out / f"{i:03}-{re.sub(r'[^a-zA-Z0-9]+', '-', prompt).strip('-')[:60]}.png"
        image.save(path)
        yield path
