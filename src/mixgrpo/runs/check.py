"""Does a model, or an adapter that somebody wrote for one, do what training asks of it? Before any reward is chosen.

First everything that a run checks before its first iteration (`preflight`). Then adapters are trained for an iteration,
written for diffusers and loaded into a fresh pipeline, which must give the same velocity.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import resolve
from mixgrpo.recipe.schema import Recipe
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer

from .export import export
from .folder import RunFolder
from .preflight import Finding, preflight

_PROMPTS = prompts_of(["a red circle on a table", "two cats", "a sign that says OPEN", "a boat at dawn"])
_SAME = {"float32": 1e-2, "bfloat16": 0.3}
"""Of what was learned."""


def check(model: ModelConfig) -> Iterator[Finding]:
    return check_loaded(model, lambda: load_model(model, distributed.device()))


def check_loaded(settings: ModelConfig, load: Callable[[], FlowModel]) -> Iterator[Finding]:
    """Of the model that `load` makes. It is made a second time for the exported adapters."""
    recipe = _recipe(settings)
    trainer = Trainer(recipe, make_policy(load(), recipe), find_rewards(recipe.rewards), _PROMPTS)
    for finding in preflight(trainer, _PROMPTS):
        yield finding
        if not finding.ok:
            return
    yield _loaded_back(trainer, load())


def _recipe(model: ModelConfig) -> Recipe:
    return resolve(
        {
            "description": "check",
            "model": model.model_dump(),
            "tune": "lora",
            "grid": {"steps": 6},
            "window": {"strategy": "frozen", "size": 2, "range": [0, 2]},
            "rollout": {"prompts": 2, "group_size": 4, "micro_batch": 4},
            "objective": {"clip_range": 1e-2},
            "update": {"learning_rate": 1e-2},
            "rewards": {"jpeg-compressibility": 1.0},
            "prompts": "scenes",
        }
    )


def _loaded_back(trainer: Trainer, fresh: FlowModel) -> Finding:
    before = _velocity(trainer.model, trainer)
    trainer.iterate()
    trained = _velocity(trainer.model, trainer)
    with TemporaryDirectory() as folder:
        (lora,) = export(trainer.model, RunFolder(Path(folder)), lora=True)
        fresh.pipeline.load_lora_weights(lora)
    learned = (trained - before).norm().item()
    error = (_velocity(fresh, trainer) - trained).norm().item()
    return Finding(
        "exported adapters load into the stock pipeline",
        f"they change a velocity by {learned / before.norm().item():.1e}, loaded back they are wrong by "
        f"{error / learned:.1e} of that",
        learned > 0 and error < _SAME[trainer.recipe.model.dtype] * learned,
    )


@torch.no_grad()
def _velocity(model: FlowModel, trainer: Trainer) -> Tensor:
    with trainer.precision():
        conditioning = model.encode(_PROMPTS[:2])
        x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0)).to(model.device)
        return model.velocity(x, torch.tensor([0.9, 0.4], device=model.device), conditioning)
