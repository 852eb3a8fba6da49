"""Before and after: a run's tuned model against its base, on the evaluation prompts from the same noise."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from mixgrpo.data.prompts import Prompt, spread
from mixgrpo.data.sources import evaluation_prompts
from mixgrpo.models.base import FlowModel
from mixgrpo.models.text_cache import encoder_of
from mixgrpo.parallel import distributed
from mixgrpo.rewards.registry import check_rewards
from mixgrpo.rewards.reward import automatic
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.generation import images_of
from mixgrpo.training.scoring import to_pil

from .atomic import save_image, write_json
from .evaluation import Evaluation, evaluate, joined, per_kind
from .sheet import Tile, sheet
from .tuned import load_tuned

_SHOWN = 24  # prompts on the sheet


def compare(
    run: Path, *, count: int | None, steps: int | None, seed: int, checkpoint: str | None = None
) -> dict[str, Any]:
    """Per reward and kind: base, tuned and their difference prompt by prompt, each with its 95% interval. Saved in
    the run's folder, with a sheet of images: base on the left, tuned on the right, with the first reward's scores. Each
    process draws a share of the prompts.
    """
    tuned = load_tuned(run, distributed.device(), checkpoint)
    recipe = tuned.recipe
    prompts = spread(evaluation_prompts(recipe.prompts.evaluation), count or recipe.evaluation.prompts)
    rewards = automatic(check_rewards(recipe.rewards))
    steps, micro_batch = steps or recipe.evaluation.steps, recipe.rollout.micro_batch
    encode = encoder_of(tuned.model, recipe.speed, micro_batch)
    shown = spread(range(len(prompts)), _SHOWN)

    local = distributed.local_range(len(prompts))
    own = [prompts[i] for i in local]

    def evaluated(model: FlowModel) -> Evaluation:
        noise = KeyedNoise(seed, 0, model.latent_shape)
        images = images_of(model, encode, own, noise, steps=steps, micro_batch=micro_batch, prompt_ids=local)
        overlap, show = recipe.speed.overlap_rewards, [i - local.start for i in shown if i in local]
        part = evaluate(images, own, rewards, recipe.scoring, overlap=overlap, show=show)
        return joined(distributed.gather(part), rewards)

    after = evaluated(tuned.model)
    with tuned.base() as base:
        before = evaluated(base)
    first = next((name for name in recipe.weights if name in rewards), None)
    tiles = [
        Tile(
            [*to_pil(before.shown[i]), *to_pil(after.shown[i])],
            (f"{before.scores[first][i]:.2f} > {after.scores[first][i]:.2f}  " if first else "") + prompts[i].text,
        )
        for i in shown
    ]
    picture_file = run / "before-after.png"
    result: dict[str, Any] = {
        "run": str(run),
        "checkpoint": checkpoint,
        "pictures": str(picture_file),
        "prompts": len(prompts),
        "steps": steps,
        "seed": seed,
        "micro_batch": micro_batch,
        "rewards": {name: _per_kind(before.scores[name], after.scores[name], prompts) for name in rewards},
        "per_prompt": _per_prompt(before, after, prompts),
    }
    if distributed.rank() == 0:
        save_image(picture_file, sheet(tiles, columns=4))
        write_json(run / "comparison.json", result)
    return result


def _per_prompt(before: Evaluation, after: Evaluation, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """None where a score failed."""
    return [
        {
            "prompt": prompt.text,
            "base": {name: _known(values[i].item()) for name, values in before.scores.items()},
            "tuned": {name: _known(values[i].item()) for name, values in after.scores.items()},
        }
        for i, prompt in enumerate(prompts)
    ]


def _known(score: float) -> float | None:
    return None if math.isnan(score) else score


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
                f"{gain['mean']:+.3f}" + (f" ± {gain['half_width']:.3f}" if gain["count"] > 1 else ""),
            )
        console.print(table)
    console.print(f"before and after: {result['pictures']}")
