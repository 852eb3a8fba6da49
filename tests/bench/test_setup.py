import weakref

import pytest
import torch

from bench_setups import tiny_flux, tiny_setup
from mixgrpo.bench.setup import bench_setup, by_policy
from mixgrpo.models.base import FlowModel
from mixgrpo.recipe.sections import ModelConfig


def test_a_sliding_window_covers_each_position_once() -> None:
    setup = tiny_setup()
    recipe = setup.recipe("mixgrpo")
    assert [recipe.window_at(k).start for k in range(5)] == [0, 1, 2, 3, 0]
    assert len({setup.recipe("mixgrpo-flash-frozen").window_at(k) for k in range(5)}) == 1


def test_algorithms_share_a_policy() -> None:
    setup = tiny_setup()
    first, second = setup.recipe("mixgrpo"), setup.recipe("turbo", speed={"share_computation": False})
    assert setup.trainer(first).policy is setup.trainer(second).policy
    assert setup.trainer(second).recipe == second


def test_only_one_policy_is_in_memory() -> None:
    alive: list[weakref.ref[FlowModel]] = []

    def load(config: ModelConfig, device: torch.device) -> FlowModel:
        assert not any(model() for model in alive)
        model = tiny_flux(config, device)
        alive.append(weakref.ref(model))
        return model

    setup = tiny_setup()
    setup.load = load
    for channels_last in (True, False):
        setup.trainer(setup.recipe("turbo", speed={"channels_last": channels_last}))
    assert len(alive) == 2


def test_recipes_are_grouped_by_the_settings_that_change_the_model() -> None:
    setup = tiny_setup()
    recipes = {
        "plain": setup.recipe("turbo"),
        "another model": setup.recipe("turbo", model={"height": 64}),
        "another algorithm": setup.recipe("dancegrpo", speed={"overlap_rewards": False}),
        "another optimizer": setup.recipe("turbo", speed={"fused_optimizer": False}),
    }
    assert [[*group] for group in by_policy(recipes)] == [
        ["plain", "another algorithm"],
        ["another model"],
        ["another optimizer"],
    ]


def test_dtype_is_the_recipes_unless_given() -> None:
    dtypes = [bench_setup("scenes", "cpu", dtype).base.model.dtype for dtype in (None, "bfloat16")]
    assert dtypes == ["float32", "bfloat16"]
    assert bench_setup("flux-dev-shape", "cpu", "float16").base.model.dtype == "float16"


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="--device tpu: must be cpu or cuda"):
        bench_setup("scenes", "tpu")
