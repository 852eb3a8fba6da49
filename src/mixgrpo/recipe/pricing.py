"""The cost of a recipe's plans, relative to DanceGRPO with the same number of steps.

Costs are model evaluations per image: a forward is 1; a forward-backward is 3, or 2 if only adapters train. They are
counted in two ways: every image alone, as the public trainers compute, and with what a group has in common computed
once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mixgrpo.sampling.plan import Plan, Price, make_plan
from mixgrpo.sampling.schedule import SigmaGrid, shifted_linspace
from mixgrpo.sampling.window import random_subset

from .presets import DANCEGRPO_FRACTION, DANCEGRPO_NOISE
from .schema import Recipe


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


def quote(recipe: Recipe, iterations: Iterable[int], shared: bool) -> Quote:
    """The mean price of these iterations."""
    iterations = list(iterations)
    grid = counting_grid(recipe)

    def mean_price(plan_at: Callable[[int], Plan]) -> Price:
        prices = [plan_at(i).price(recipe.rollout.group_size, shared) for i in iterations]
        return Price(
            sum(price.rollout_calls for price in prices) / len(prices),
            sum(price.update_passes for price in prices) / len(prices),
        )

    return Quote(
        price=mean_price(lambda i: recipe.plan_at(i, grid)),
        dancegrpo=mean_price(lambda i: _dancegrpo_plan(i, grid, recipe.seed)),
        pass_cost=2.0 if recipe.tune == "lora" else 3.0,
    )


def counting_grid(recipe: Recipe) -> SigmaGrid:
    """The recipe's grid, or one with as many steps if only the model's scheduler knows it."""
    return recipe.own_grid() or shifted_linspace(recipe.grid.steps, shift=1.0)


def _dancegrpo_plan(iteration: int, grid: SigmaGrid, seed: int) -> Plan:
    every_step = range(grid.num_steps - 1)
    trained = random_subset(iteration, every_step, DANCEGRPO_FRACTION, seed)
    return make_plan(grid, every_step, sde_type="dance", noise_level=DANCEGRPO_NOISE, trained=trained)
