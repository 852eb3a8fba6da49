from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mixgrpo.models.base import FlowModel
from mixgrpo.objectives.image_credit import to_pictures
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import make_plan
from mixgrpo.sampling.rollout import Rollout, rollout
from mixgrpo.sampling.steppers.gaussian import advance, clean_image, log_prob, velocity_of

PROMPTS = ["a red circle", "two blue squares", "CAT"]
G = 4


def sample(model: FlowModel, size: int = 1) -> Rollout:
    plan = make_plan(model.grid(6), range(1, 1 + size), suffix_solver="euler")
    noise = KeyedNoise(0, 0, model.latent_shape)
    return rollout(model, plan, model.encode(PROMPTS), noise, group_size=G, micro_batch=5)


def by_group(images: Tensor) -> Tensor:
    return images.view(len(PROMPTS), G, -1)


def centred(images: Tensor) -> Tensor:
    return by_group(images) - by_group(images).mean(1, keepdim=True)


def test_a_mean_moves_along_the_covariance_of_advantage_and_picture(flux: FlowModel) -> None:
    sampled = sample(flux)
    (transition,) = to_pictures(sampled, G).transitions
    advantage = torch.randn(len(PROMPTS), G, generator=torch.Generator().manual_seed(1))
    advantage = advantage - advantage.mean(1, keepdim=True)
    mean = transition.means.clone().requires_grad_(True)
    gain = (advantage.flatten() * log_prob(transition.step.move, transition.x_next, mean[transition.state_of])).sum()
    (direction,) = torch.autograd.grad(gain, mean)
    covariance = (advantage[..., None] * by_group(sampled.latents)).mean(1)
    cosine = torch.cosine_similarity(direction.flatten(1), covariance)
    torch.testing.assert_close(cosine, torch.ones(len(PROMPTS)))


@pytest.mark.parametrize("size", [1, 3])
def test_each_transition_leads_toward_its_picture_as_far_as_noise_goes(model: FlowModel, size: int) -> None:
    sampled = sample(model, size)
    for was, transition in zip(sampled.transitions, to_pictures(sampled, G).transitions, strict=True):
        ahead = transition.x_next - was.means[was.state_of]
        spread = by_group(ahead).square().mean((1, 2)).sqrt()
        torch.testing.assert_close(spread, torch.full_like(spread, was.step.move.std))
        velocity = velocity_of(was.step.move, was.states, was.means)
        unforeseen = sampled.latents - clean_image(was.states, velocity, was.step.sigma)[was.state_of]
        alike = torch.cosine_similarity(by_group(ahead).flatten(1), centred(unforeseen).flatten(1))
        torch.testing.assert_close(alike, torch.ones(len(PROMPTS)))


def test_pictures_that_are_all_alike_teach_nothing(flux: FlowModel) -> None:
    sampled = sample(flux)
    same = by_group(sampled.latents)[:, :1].expand(-1, G, -1).reshape_as(sampled.latents)
    (transition,) = to_pictures(replace(sampled, latents=same), G).transitions
    torch.testing.assert_close(transition.x_next, transition.means[transition.state_of])


def test_a_velocity_is_found_again_from_its_mean(flux: FlowModel) -> None:
    move = sample(flux).transitions[0].step.move
    x, velocity = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(velocity_of(move, x, advance(move, x, velocity)), velocity)
