import pytest
import torch
from torch import Tensor

from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.objectives.clipped_ratio import ClippedRatio
from mixgrpo.objectives.image_credit import ImageCredit, toward_images
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import make_plan
from mixgrpo.sampling.rollout import Rollout, rollout
from mixgrpo.sampling.steppers.gaussian import advance, clean_image, log_prob, velocity_of

PROMPTS = ["a red circle", "two blue squares", "CAT"]
G = 4


def sample(model: FlowModel, size: int = 1) -> Rollout:
    plan = make_plan(model.grid(6), range(1, 1 + size), suffix_solver="euler")
    noise = KeyedNoise(0, 0, model.latent_shape)
    return rollout(model, plan, model.encode(prompts_of(PROMPTS)), noise, group_size=G, micro_batch=5)


def by_group(images: Tensor) -> Tensor:
    return images.view(len(PROMPTS), G, -1)


def centred(images: Tensor) -> Tensor:
    return by_group(images) - by_group(images).mean(1, keepdim=True)


def test_a_mean_moves_along_the_covariance_of_advantage_and_image(flux: FlowModel) -> None:
    sampled = sample(flux)
    (transition,) = sampled.transitions
    target = toward_images(transition, sampled.latents, G)
    advantage = torch.randn(len(PROMPTS), G, generator=torch.Generator().manual_seed(1))
    advantage = advantage - advantage.mean(1, keepdim=True)
    mean = transition.means.clone().requires_grad_(True)
    gain = (advantage.flatten() * log_prob(transition.step.move, target, mean[transition.state_of])).sum()
    (direction,) = torch.autograd.grad(gain, mean)
    covariance = (advantage[..., None] * by_group(sampled.latents)).mean(1)
    cosine = torch.cosine_similarity(direction.flatten(1), covariance)
    torch.testing.assert_close(cosine, torch.ones(len(PROMPTS)))


@pytest.mark.parametrize("size", [1, 3])
def test_each_target_lies_toward_the_image_as_far_away_as_the_noise(model: FlowModel, size: int) -> None:
    sampled = sample(model, size)
    for was in sampled.transitions:
        ahead = toward_images(was, sampled.latents, G) - was.means[was.state_of]
        spread = by_group(ahead).square().mean((1, 2)).sqrt()
        torch.testing.assert_close(spread, torch.full_like(spread, was.step.move.std))
        velocity = velocity_of(was.step.move, was.states, was.means)
        unforeseen = sampled.latents - clean_image(was.states, velocity, was.step.sigma)[was.state_of]
        alike = torch.cosine_similarity(by_group(ahead).flatten(1), centred(unforeseen).flatten(1))
        torch.testing.assert_close(alike, torch.ones(len(PROMPTS)))


def test_equal_images_give_no_signal(flux: FlowModel) -> None:
    sampled = sample(flux)
    same = by_group(sampled.latents)[:, :1].expand(-1, G, -1).reshape_as(sampled.latents)
    (transition,) = sampled.transitions
    torch.testing.assert_close(toward_images(transition, same, G), transition.means[transition.state_of])


def test_the_rollout_keeps_what_was_drawn(flux: FlowModel) -> None:
    sampled = sample(flux)
    drawn = sampled.transitions[0].x_next.clone()
    noise = KeyedNoise(0, 0, flux.latent_shape)
    ImageCredit(ClippedRatio(1e-2)).terms(sampled, torch.zeros(len(drawn)), noise)
    assert torch.equal(sampled.transitions[0].x_next, drawn)


def test_a_velocity_is_recovered_from_its_mean(flux: FlowModel) -> None:
    move = sample(flux).transitions[0].step.move
    x, velocity = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(velocity_of(move, x, advance(move, x, velocity)), velocity)
