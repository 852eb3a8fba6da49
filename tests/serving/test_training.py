"""Training with a reward from a server gives the same weights as with the local reward."""

import torch

from mixgrpo.bench.local_servers import reward_server
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import adapt
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer
from pipelines import flux
from runs import PROMPTS, small_recipe, weights


def trained_with(**entry: str) -> Trainer:
    recipe = small_recipe(rewards={"jpeg-incompressibility": entry})
    model = adapt(flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
    trainer = Trainer(recipe, make_policy(model, recipe), find_rewards(recipe.rewards), prompts_of(PROMPTS))
    trainer.iterate()
    return trainer


def test_training_is_the_same_with_a_served_reward() -> None:
    local = trained_with()
    with reward_server("jpeg-incompressibility") as (url, _):
        served = trained_with(url=url)
    assert local.policy.weights.optimizer.state  # an update was made
    served_weights = weights(served)
    for name, weight in weights(local).items():
        assert torch.equal(weight, served_weights[name])
