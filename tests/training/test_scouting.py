from typing import Any

import numpy as np
import pytest
import torch

from mixgrpo.data.prompts import prompts_of
from mixgrpo.recipe.errors import RecipeError
from mixgrpo.recipe.load import load_recipe
from mixgrpo.recipe.pricing import quote
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.training.scouting import KeptNoise, best_and_worst
from mixgrpo.training.trainer import Trainer
from runs import PROMPTS, small_recipe, small_trainer

NAN = float("nan")
P, G, CANDIDATES = 2, 4, 10
SECTIONS: dict[str, Any] = {
    "rollout": {"prompts": P, "group_size": G, "micro_batch": 3, "shared_noise": False},
    "scouting": {"candidates": CANDIDATES, "steps": 2},
    "objective": {"type": "rvm"},
}


def test_half_are_the_best_and_half_the_worst() -> None:
    advantages = torch.tensor([[0.1, 2.0, -3.0, 0.5, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert best_and_worst(advantages, 4) == [[1, 5, 2, 4], [0, 1, 2, 3]]
    assert best_and_worst(advantages[:1], 3) == [[1, 5, 2]]
    assert best_and_worst(advantages[:1], 6) == [[1, 5, 3, 2, 4, 0]]


def test_a_candidate_without_a_score_is_the_last_choice() -> None:
    assert best_and_worst(torch.tensor([[NAN, 1.0, NAN, -1.0, 0.0]]), 2) == [[1, 3]]
    assert best_and_worst(torch.tensor([[NAN, 1.0, NAN, -1.0, 0.0]]), 4) == [[1, 4, 3, 0]]


def test_an_image_has_the_noise_of_the_candidate_that_it_was() -> None:
    noise = KeyedNoise(0, 3, (2, 2))
    kept = KeptNoise(noise, {7: [5, 2]})
    assert torch.equal(kept.initial(7, 1), noise.initial(7, 2))
    assert torch.equal(kept.step(7, 0, 4), noise.step(7, 5, 4))
    assert kept.shape == (2, 2)


class Seen:
    """A reward that remembers what it saw."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    def __call__(self, images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        scores = [float(np.asarray(image).mean() / 255) for image in images]
        self.calls += zip(prompts, scores, strict=True)
        return scores


def scouting(seen: Seen, **sections: Any) -> Trainer:
    return small_trainer(seen, **{**SECTIONS, **sections})


def test_the_extremes_of_many_candidates_are_drawn_again_and_learned_from() -> None:
    seen = Seen()
    trainer = scouting(seen)
    metrics = trainer.iterate()
    assert len(seen.calls) == P * (CANDIDATES + G)
    assert metrics["update_rows"] == P * G
    assert metrics["grad_norm"] > 0
    assert {"scouting", "rollout"} <= metrics["seconds"].keys()


def test_candidates_drawn_properly_are_the_same_images_again() -> None:
    """With as many steps for a candidate as for an image."""
    seen = Seen()
    scouting(seen, scouting={"candidates": CANDIDATES, "steps": 5}).iterate()
    scouts, images = seen.calls[: P * CANDIDATES], seen.calls[P * CANDIDATES :]
    for n in range(P):
        own = sorted(score for _, score in scouts[n * CANDIDATES : (n + 1) * CANDIDATES])
        again = sorted(score for _, score in images[n * G : (n + 1) * G])
        assert again == pytest.approx([*own[:2], *own[-2:]], abs=1e-6)


def test_the_choice_of_prompts_comes_first() -> None:
    seen = Seen()
    trainer = scouting(seen)
    trainer.prompts = prompts_of(PROMPTS)
    trainer.iterate()
    assert {prompt for prompt, _ in seen.calls[: P * CANDIDATES]} == {prompt for prompt, _ in seen.calls}


def test_what_it_costs() -> None:
    with_scouts, without = small_recipe(**SECTIONS), small_recipe(**{**SECTIONS, "scouting": {}})
    ours, theirs = (quote(recipe, [0], shared=True).price for recipe in (with_scouts, without))
    assert ours.rollout_calls - theirs.rollout_calls == pytest.approx(CANDIDATES * 2 / G)
    assert theirs.rollout_calls == 5
    assert ours.update_passes == theirs.update_passes == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["scouting.candidates=24"], "objective.type = 'image-credit' has a ratio to the policy that drew the images"),
        (["objective.type=awm", "scouting.candidates=24"], "objective.type = 'awm' has a ratio"),
        (["objective.type=v-grpo", "scouting.candidates=24"], "objective.type = 'v-grpo' has a ratio"),
        (["objective.type=elbo-pepg", "objective.off_policy=true", "scouting.candidates=24"], "has a ratio"),
        (["objective.type=rvm", "scouting.candidates=24"], "needs rollout.shared_noise = false"),
        (["objective.type=rvm", "scouting.candidates=5"], "must be at least rollout.group_size = 12"),
        (["scouting.steps=3"], "scouting.steps = 3: needs scouting.candidates"),
    ],
)
def test_what_scouting_does_not_go_with_is_refused(changes: list[str], why: str) -> None:
    with pytest.raises(RecipeError, match=why.replace("[", r"\[")):
        load_recipe("scenes", ["update.learning_rate=1e-3", *changes])
