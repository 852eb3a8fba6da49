"""Folders with the record of a run, for reports."""

import json
import math
from pathlib import Path

from mixgrpo.runs.folder import RunFolder
from runs import small_recipe

ITERATIONS = 500


def made(path: Path, iterations: int = ITERATIONS, **sections: object) -> Path:
    """A folder with the record of a long run; scores fail once."""
    recipe = small_recipe(iterations=max(1, iterations), **sections)
    folder = RunFolder(path)
    folder.create(recipe)
    for k in range(iterations):
        folder.append(
            {
                "iteration": k,
                "window": [k % 3],
                "rewards": {"brightness": 0.5 - k / 1000 + 0.01 * math.sin(k)},
                "reward_std": {"brightness": 0.1},
                "failed_scores": {"brightness": int(k == 7)},
                "retried_scores": {"brightness": 2 * (k == 7)},
                "score_errors": {"brightness": "the server hung up"} if k == 7 else {},
                "skipped_groups": 0,
                "clip_fraction": 0.123456789,
                "loss": -0.01,
                "grad_norm": 1.0,
                "learning_rate": 1e-4,
                "seconds": {"rollout": 2.0, "reward": 0.5, "update": 0.5},
            }
        )
    for iteration, mean in ((0, 0.5), (iterations, 0.25)):
        folder.evaluation(iteration).write_text(
            json.dumps({"iteration": iteration, "rewards": {"brightness": {"overall": mean}}})
        )
    return path
