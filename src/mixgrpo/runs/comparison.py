"""Before and after: a run's model against what it began as, on the evaluation prompts from the same noise."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mixgrpo.data.prompts import Prompt, evaluation_prompts, spread
from mixgrpo.parallel import distributed
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.training.scoring import to_pil

from .evaluation import draw_pictures, per_kind, score
from .sheet import Tile, sheet
from .tuned import load_tuned

_SHOWN = 24  # pictures before and after


def compare(run: Path, *, count: int | None, steps: int | None, seed: int) -> dict[str, Any]:
    """Per reward and kind: base, tuned, and their difference prompt by prompt, each with its 95% interval. A sheet of
    pictures goes into the run's folder: before on the left, after on the right, the first reward's score of both.
    """
    tuned = load_tuned(run, distributed.device())
    settings = tuned.recipe.evaluation
    prompts = evaluation_prompts(tuned.recipe.prompts.evaluation)
    prompts = spread(prompts, count or settings.prompts)
    rewards = find_rewards(tuned.recipe.rewards)
    options: dict[str, Any] = {
        "steps": steps or settings.steps,
        "seed": seed,
        "micro_batch": tuned.recipe.rollout.micro_batch,
    }
    pictures_after = draw_pictures(tuned.model, prompts, **options)
    with tuned.base() as base:
        pictures_before = draw_pictures(base, prompts, **options)
    before, after = (
        score(pictures, prompts, rewards, tuned.recipe.scoring) for pictures in (pictures_before, pictures_after)
    )
    first = next(iter(tuned.recipe.weights))
    rows = [*zip(prompts, pictures_before, pictures_after, before[first], after[first], strict=True)]
    tiles = [
        Tile(to_pil(torch.stack([old, new])), f"{was:.2f} > {now:.2f}  {prompt.text}")
        for prompt, old, new, was, now in spread(rows, _SHOWN)
    ]
    picture_file = run / "before-after.png"
    sheet(tiles, columns=4).save(picture_file)
    return {
        "run": str(run),
        "pictures": str(picture_file),
        "prompts": len(prompts),
        **options,
        "rewards": {name: _per_kind(before[name], after[name], prompts) for name in rewards},
    }


def _per_kind(before: Tensor, after: Tensor, prompts: Sequence[Prompt]) -> dict[str, dict[str, Any]]:
    columns = {"base": before, "tuned": after, "gain": after - before}
    estimates = {column: per_kind(scores, prompts) for column, scores in columns.items()}
    return {kind: {column: asdict(estimates[column][kind]) for column in columns} for kind in estimates["gain"]}


def print_comparison(result: dict[str, Any]) -> None:
    console = Console(highlight=False)
    for reward, kinds in result["rewards"].items():
        table = Table(title=f"{reward}: {result['prompts']} prompts, {result['steps']} Euler steps", box=None)
        for column in ("kind", "prompts", "base", "tuned", "gain, 95% interval"):
            table.add_column(column, justify="left" if column == "kind" else "right")
        for kind, row in kinds.items():
            gain = row["gain"]
            table.add_row(
                kind,
                str(gain["count"]),
                f"{row['base']['mean']:.3f}",
                f"{row['tuned']['mean']:.3f}",
                f"{gain['mean']:+.3f} ± {gain['half_width']:.3f}",
            )
        console.print(table)
    console.print(f"before and after: {result['pictures']}")
