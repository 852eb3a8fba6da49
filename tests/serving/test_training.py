"""A training whose reward is on a server learns the same as with the reward at hand."""

import torch

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import adapt
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.training.trainer import Trainer
from pipelines import flux
from runs import PROMPTS, small_recipe
from servers import reward_server


def trained_with(**entry: str) -> Trainer:
    recipe = small_recipe(rewards={"jpeg-incompressibility": entry})
    model = adapt(flux(), height=32, width=24, guidance_scale=3.5, max_sequence_length=48)
    trainer = Trainer(recipe, model, find_rewards(recipe.rewards), prompts_of(PROMPTS))
    trainer.iterate()
    return trainer


def test_a_served_reward_trains_as_one_at_hand() -> None:
    near = trained_with()
    with reward_server("jpeg-incompressibility") as (url, _):
        far = trained_with(url=url)
    assert near.optimizer.state  # it did learn
    for name, parameter in near.parameters.items():
        assert torch.equal(parameter, far.parameters[name])
