"""What the benches of learning share: a trainer of a recipe, and how good its model is."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.data.sources import train_prompts
from mixgrpo.models.base import FlowModel
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.reward import Reward
from mixgrpo.runs.evaluation import evaluate
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.generation import images_of
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer

_EVALUATION_SEED = 0


def new_trainer(recipe: Recipe, model: FlowModel, rewards: Mapping[str, Reward]) -> Trainer:
    prompts = train_prompts(recipe.prompts.train, recipe.seed, recipe.iterations * recipe.rollout.prompts)
    return Trainer(recipe, make_policy(model, recipe), rewards, prompts)


def scores_of(trainer: Trainer, prompts: Sequence[Prompt], reward: str) -> Tensor:
    """One image per prompt, always from the same noise, and its score: [prompts]."""
    recipe = trainer.recipe
    images = images_of(
        trainer.model,
        trainer.encode,
        prompts,
        KeyedNoise(_EVALUATION_SEED, 0, trainer.model.latent_shape),
        steps=recipe.evaluation.steps,
        micro_batch=recipe.rollout.micro_batch,
    )
    with trainer.precision():
        return evaluate(images, prompts, {reward: trainer.rewards[reward]}, recipe.scoring).scores[reward]
