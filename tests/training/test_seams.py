"""The seams: an objective without ratio or window, and a model with two networks and several frames.

Both are trained by the unchanged trainer.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import pipelines
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.flux import FLUX
from mixgrpo.models.load import adapt
from mixgrpo.objectives.clipped_ratio import ClippedRatio
from mixgrpo.objectives.objective import Loss, Selection, Term, Velocities
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout
from mixgrpo.training.generation import images_of
from mixgrpo.training.trainer import Trainer
from runs import brightness, small_trainer, weights

SIGMA = 0.7


@dataclass(frozen=True)
class EndpointRegression:
    """Final latents, noised again: A |v - v*|^2, anchored to the old policy and to the reference."""

    seen: list[Velocities]

    needs_window = False
    uses_old_policy = True
    uses_average = False
    uses_reference = True

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        group = rollout.group_size
        drawn = torch.stack([noise.renoise(prompt, None, 0) for prompt in rollout.prompt_ids]).repeat_interleave(
            group, 0
        )
        states = (1 - SIGMA) * rollout.latents + SIGMA * drawn
        every = torch.arange(len(states))[:, None]

        def distance(first: Tensor, second: Tensor) -> Tensor:
            return (first - second).square().flatten(1).mean(1)

        def loss(selection: Selection, velocities: Velocities) -> Loss:
            self.seen.append(velocities)
            assert velocities.reference is not None
            target = (drawn - rollout.latents)[selection.images]
            value = advantages[selection.images] * distance(velocities.current[selection.state_of[:, 0]], target)
            anchors = distance(velocities.current, velocities.old) + distance(velocities.current, velocities.reference)
            return Loss(value + 0.1 * anchors[selection.state_of[:, 0]], {"distance": value})

        return [Term(states, torch.full((len(states),), SIGMA), rollout.prompt_of, every, range(len(states)), loss)]


@dataclass(frozen=True)
class EveryTermTwice:
    inner: ClippedRatio

    needs_window = True
    uses_old_policy = False
    uses_average = False
    uses_reference = False

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        return 2 * [*self.inner.terms(rollout, advantages, noise)]


NO_WINDOW: dict[str, Any] = {
    "rollout": {"prompts": 3, "group_size": 4, "micro_batch": 5, "shared_noise": False},
    "iterations": 12,
}


def brightness_of(trainer: Trainer) -> float:
    """Of the same images before and after training."""
    noise = KeyedNoise(99, 0, trainer.model.latent_shape)
    drawn = images_of(trainer.model, trainer.encode, trainer.prompts, noise, steps=5, micro_batch=4)
    return torch.cat([pixels for _, pixels in drawn]).mean().item()


def test_an_objective_without_ratio_or_window_trains() -> None:
    trainer = small_trainer(custom_objective=EndpointRegression([]), **NO_WINDOW)
    before = brightness_of(trainer)
    metrics = [trainer.iterate() for _ in range(5)]
    assert brightness_of(trainer) > before + 0.008
    assert metrics[0]["window"] == []
    assert {"distance", "loss"} <= metrics[0].keys()
    assert metrics[0].keys().isdisjoint({"clip_fraction", "ratio_deviation", "kl"})
    assert metrics[0]["update_rows"] == 12  # one state per image


def test_old_velocities_are_those_before_the_first_optimizer_step() -> None:
    """Also for the images of the second mini-batch, whose current velocities have moved by then."""
    objective = EndpointRegression([])
    trainer = small_trainer(custom_objective=objective, update={"learning_rate": 1e-2, "minibatches": 2}, **NO_WINDOW)
    trainer.iterate()
    first, *_, last = objective.seen
    torch.testing.assert_close(first.current, first.old, atol=1e-5, rtol=1e-5)
    assert (last.current - last.old).abs().max() > 1e-3
    assert last.old.requires_grad is False


def test_a_group_cannot_share_its_noise_without_a_window() -> None:
    with pytest.raises(ValueError, match="without an SDE window all images of a group would be the same"):
        small_trainer(custom_objective=EndpointRegression([]))


def test_a_gradient_is_a_mean_over_terms() -> None:
    once = small_trainer(custom_objective=ClippedRatio(1e-2)).iterate()["grad_norm"]
    twice = small_trainer(custom_objective=EveryTermTwice(ClippedRatio(1e-2))).iterate()["grad_norm"]
    assert twice == pytest.approx(once, rel=1e-4)


def two_networks_and_three_frames() -> PipelineModel:
    pipeline = pipelines.flux()
    pipeline.transformer_2 = copy.deepcopy(pipeline.transformer)

    def velocity(model: PipelineModel, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        """One network above sigma 0.5, the other below."""
        result = torch.empty_like(x)
        for name, rows in (("transformer", sigma >= 0.5), ("transformer_2", sigma < 0.5)):
            if rows.any():
                expert = replace(model, pipeline=copy.copy(model.pipeline))
                expert.pipeline.transformer = getattr(model.pipeline, name)
                result[rows] = FLUX.velocity(expert, x[rows], sigma[rows], conditioning[rows.nonzero()[:, 0]])
        return result

    def decode(model: PipelineModel, latents: Tensor) -> Tensor:
        image = FLUX.decode(model, latents)
        return torch.cat([image, image * 0.5, image * 0], dim=1)

    adapter = replace(FLUX, networks=("transformer", "transformer_2"), velocity=velocity, decode=decode)
    return replace(adapt(pipeline, 32, 24, 3.5, 48), adapter=adapter)


def test_a_model_with_two_networks_and_frames_trains() -> None:
    """A window over the whole trajectory trains both networks; a reward is the mean over the frames."""
    model = two_networks_and_three_frames()
    model.pipeline.transformer_2.requires_grad_(False).eval()
    trainer = small_trainer(
        flow_model=model,
        iterations=12,
        update={"learning_rate": 2e-3},
        window={"strategy": "frozen", "size": None},
    )
    before = weights(trainer)
    rewards = [trainer.iterate()["rewards"]["brightness"] for _ in range(12)]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.003
    changed = {name.split(".")[0] for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    assert changed == {"transformer", "transformer_2"}


def test_the_score_of_a_video_is_the_mean_over_its_frames() -> None:
    """Frames at full, half and no brightness: half of what the first frame alone gets."""
    three = small_trainer(flow_model=two_networks_and_three_frames()).iterate()["rewards"]["brightness"]
    one = small_trainer(brightness).iterate()["rewards"]["brightness"]
    assert three == pytest.approx(one / 2, abs=2e-3)
