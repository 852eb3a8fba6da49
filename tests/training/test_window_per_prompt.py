"""Prompts with windows of their own are drawn and learned from as if each had come with a plan for all."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from mixgrpo.data.prompts import Prompt, prompts_of
from mixgrpo.recipe.plan_view import plan_as_json
from mixgrpo.sampling.window import Stratified
from mixgrpo.training.generation import Generation, together
from mixgrpo.training.trainer import Signal, Trainer
from runs import PROMPTS, small_recipe, small_trainer

P, G = 3, 4
BATCH: list[Prompt] = prompts_of(PROMPTS[:P])
ADVANTAGES = torch.tensor([1.0, -1, 0.5, -0.5, -1, 0.3, 0.2, 0.5, 0.2, 0.8, -0.4, -0.6])


def trainer(window: dict[str, Any], kind: str) -> Trainer:
    return small_trainer(
        window=window, objective={"type": kind, "clip_range": 1e-2}, sde={"type": "cps", "noise_level": 0.8}
    )


def own_windows(kind: str = "image-credit") -> Trainer:
    return trainer({"strategy": "stratified", "size": 1, "range": [0, 3]}, kind)


def one_window(start: int, kind: str) -> Trainer:
    return trainer({"strategy": "frozen", "size": 1, "range": [start, start + 1]}, kind)


def drawn(one: Trainer) -> Generation:
    return together([one.generate(0, one.plan_at(0, i), BATCH, range(i, i + 1)) for i in range(P)])


def start_of(one: Trainer, prompt: int) -> int:
    return one.plan_at(0, prompt).window.start


def test_positions_are_spread_evenly_and_move() -> None:
    window = Stratified(strategy="stratified", size=2)
    starts = [window.start_of(prompt, 24, 5, range(2, 9), 2) for prompt in range(24)]
    assert {*Counter(starts).values()} == {4}
    assert {*starts} == {2, 3, 4, 5, 6, 7}
    assert sum(a != b for a, b in pairwise(starts)) == 5, "neighbours share a window"
    assert len({window.start_of(0, 24, k, range(2, 9), 2) for k in range(30)}) == 6
    assert len({window.start_of(prompt, 2, 0, range(2, 9), 2) for prompt in range(2)}) == 2


def test_each_prompt_is_drawn_by_its_own_plan() -> None:
    one = own_windows()
    mixed = drawn(one)
    assert len({start_of(one, i) for i in range(P)}) == P
    assert mixed.rollout.prompt_ids == (0, 1, 2)
    for i in range(P):
        alone = one_window(start_of(one, i), "image-credit")
        own = slice(i * G, (i + 1) * G)
        expected = alone.generate(0, alone.plan_at(0), BATCH, range(P)).rollout.latents[own]
        torch.testing.assert_close(mixed.rollout.latents[own], expected)


@pytest.mark.parametrize("kind", ["clipped-ratio", "image-credit"])
@pytest.mark.parametrize("prompt", range(P))
def test_each_prompt_is_learned_from_at_its_own_window(kind: str, prompt: int) -> None:
    one = own_windows(kind)
    signal = Signal(ADVANTAGES, [[prompt * G + n for n in range(G)]])
    mixed = drawn(one)
    alone = one_window(start_of(one, prompt), kind)
    same = alone.generate(0, alone.plan_at(0), BATCH, range(P))
    stats, norms = one.update(0, mixed, signal)
    expected_stats, expected = alone.update(0, same, signal)
    assert norms == pytest.approx(expected, rel=1e-4)
    assert stats.model_rows == expected_stats.model_rows == 1
    assert (stats.largest_first_ratio_error() or 0) < 1e-5
    for name, parameter in one.policy.weights.parameters.items():
        torch.testing.assert_close(parameter, alone.policy.weights.parameters[name], rtol=0, atol=2e-5)


def test_an_iteration_reports_all_windows() -> None:
    metrics = own_windows().iterate()
    assert metrics["window"] == [0, 1, 2]
    assert metrics["grad_norm"] > 0


def test_the_price_is_the_mean_over_prompts() -> None:
    recipe = small_recipe(window={"strategy": "stratified", "size": 1, "range": [0, 3]})

    def calls(window: dict[str, Any]) -> Any:
        cost = plan_as_json(small_recipe(window=window), 0)["cost_per_image"]["iteration_0"]
        return cost["shared_in_group"]["rollout_forwards"]

    alone = [calls({"strategy": "frozen", "size": 1, "range": [start, start + 1]}) for start in range(3)]
    assert calls(recipe.window.model_dump()) == pytest.approx(sum(alone) / 3)


def test_a_sharded_network_refuses() -> None:
    one = own_windows()
    policy = replace(one.policy, sharded=True)
    with pytest.raises(ValueError, match=r"window\.strategy = stratified: with a window for each prompt"):
        Trainer(one.recipe, policy, one.rewards, one.prompts)
