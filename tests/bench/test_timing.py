import pytest

from bench_setups import tiny_setup
from mixgrpo.bench.algorithms import ALGORITHMS
from mixgrpo.bench.setup import BenchSetup
from mixgrpo.bench.timing import time_iteration
from mixgrpo.recipe.presets import Algorithm


@pytest.fixture(scope="module")
def setup() -> BenchSetup:
    return tiny_setup(group_size=2, steps=6)


@pytest.mark.parametrize(
    ("algorithm", "share"), [*((algorithm, True) for algorithm in ALGORITHMS.values()), ("mixgrpo", False)]
)
def test_an_iteration_makes_the_calls_of_its_plan(setup: BenchSetup, algorithm: Algorithm, share: bool) -> None:
    recipe = setup.recipe(algorithm, speed={"share_computation": share})
    timing = time_iteration(setup, recipe, iteration=1)
    price, images = setup.trainer(recipe).plan_at(1).price(2, share), 4
    assert (timing.rollout_rows, timing.update_rows) == pytest.approx(
        (price.rollout_calls * images, price.update_passes * images)
    )
    assert min(timing.rollout, timing.decode, timing.reward, timing.update) > 0


def test_the_weights_stay(setup: BenchSetup) -> None:
    recipe = setup.recipe("mixgrpo")
    parameters = setup.trainer(recipe).policy.weights.parameters
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    time_iteration(setup, recipe, 0)
    assert all((parameter - before[name]).abs().max() < 1e-9 for name, parameter in parameters.items())
