"""The cost of a recipe's plans, relative to DanceGRPO with the same number of steps.

Costs are model evaluations per image: a forward is 1; a trained state is a forward-backward, 3 (or 2 if only adapters
train), and one more each for the recomputation of gradient checkpointing and for the reference model of the KL. They
are counted in two ways: every image alone, as the public trainers compute, and with what a group has in common computed
once. Guidance by two calls (a guidance scale above 1 on a model that is not distilled) doubles every number here, and
leaves the ratio.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from mixgrpo.data.prompts import spread
from mixgrpo.sampling.plan import Price, price, suffix_calls
from mixgrpo.sampling.schedule import SigmaGrid, shifted_linspace
from mixgrpo.sampling.window import random_subset

from .presets import DANCEGRPO_FRACTION
from .schema import Recipe

_MOST_STEPS = 200_000  # of all iterations together that are looked at
_MOST_PLANS = 50  # of an iteration whose prompts have windows of their own


@dataclass(frozen=True)
class Quote:
    """A price, and the price of the same iterations of DanceGRPO, counted in the same way."""

    price: Price
    dancegrpo: Price
    pass_cost: float

    @property
    def cost(self) -> float:
        return self.price.cost(self.pass_cost)

    @property
    def dancegrpo_cost(self) -> float:
        return self.dancegrpo.cost(self.pass_cost)

    @property
    def relative(self) -> float:
        return self.cost / self.dancegrpo_cost


def quote(recipe: Recipe, iterations: Sequence[int], shared: bool) -> Quote:
    """The mean price of these iterations; of a random choice of them where they are many."""
    few = affordable(recipe)
    looked_at = iterations if len(iterations) <= few else random.Random(0).sample(iterations, few)
    return Quote(
        price=_mean([price_of_iteration(recipe, k, shared) for k in looked_at]),
        dancegrpo=_mean([_dancegrpo_price(recipe, k, shared) for k in looked_at]),
        pass_cost=pass_cost(recipe),
    )


def pass_cost(recipe: Recipe) -> float:
    """What a trained state costs, in forwards."""
    forward_backward = 2 if recipe.tune == "lora" else 3
    return float(forward_backward + recipe.update.gradient_checkpointing + recipe.objective.uses_reference)


def affordable(recipe: Recipe) -> int:
    """The number of iterations that can be looked at in a moment."""
    return max(1, _MOST_STEPS // recipe.grid.steps)


def price_of_iteration(recipe: Recipe, iteration: int, shared: bool) -> Price:
    """That of its plans, which are not made for it, with all passes of the update and what scouting draws."""
    prompts = spread(range(recipe.rollout.prompts), _MOST_PLANS) if recipe.window.strategy == "stratified" else [0]
    return _mean([_price_of_prompt(recipe, iteration, prompt, shared) for prompt in prompts])


def _price_of_prompt(recipe: Recipe, iteration: int, prompt: int, shared: bool) -> Price:
    window = recipe.window_at(iteration, prompt)
    num_steps = window.stop + suffix_calls(recipe.grid.steps, window.stop, recipe.suffix.compress_ratio)
    common = window.start + 1 if window else num_steps
    shared = shared and recipe.rollout.shared_noise
    trained, group, parts = recipe.trained_at(iteration, prompt), recipe.rollout.group_size, recipe.parts_of_groups
    drawn = price(num_steps, common, trained, group, shared, recipe.renoised, parts).repeated(recipe.update.passes)
    scouts = recipe.scouting.candidates * recipe.scouting.steps / recipe.rollout.group_size
    return Price(drawn.rollout_calls + scouts, drawn.update_passes)


def _dancegrpo_price(recipe: Recipe, iteration: int, shared: bool) -> Price:
    trained = random_subset(iteration, range(recipe.grid.steps - 1), DANCEGRPO_FRACTION, recipe.seed)
    return price(recipe.grid.steps, 1, trained, recipe.rollout.group_size, shared, parts=recipe.parts_of_groups)


def _mean(prices: Sequence[Price]) -> Price:
    return Price(
        sum(one.rollout_calls for one in prices) / len(prices),
        sum(one.update_passes for one in prices) / len(prices),
    )


def counting_grid(recipe: Recipe) -> SigmaGrid:
    """The recipe's grid, or one with as many steps if only the model's scheduler knows it."""
    return recipe.own_grid() or shifted_linspace(recipe.grid.steps, shift=1.0)
