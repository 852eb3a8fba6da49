from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt, prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.sampling.field import Conditioning
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import Plan, make_plan, ode_plan
from mixgrpo.sampling.rollout import Rollout, Transition, rollout
from mixgrpo.sampling.steppers.gaussian import advance, log_prob

PROMPTS = prompts_of(["a red circle", "two blue squares left of a green star", "CAT"])
G = 4


def a_plan(model: FlowModel, start: int = 2, size: int = 3, solver: str = "dpm++3", ratio: float = 0.6) -> Plan:
    window = range(start, start + size)
    return make_plan(model.grid(10), window, suffix_solver=solver, compress_ratio=ratio)  # type: ignore[arg-type]


def sample(model: FlowModel, plan: Plan, **options: object) -> Rollout:
    noise = KeyedNoise(seed=1, iteration=7, shape=model.latent_shape)
    settings = {"group_size": G, "micro_batch": 5, **options}
    return rollout(model, plan, model.encode(PROMPTS), noise, **settings)  # type: ignore[arg-type]


def assert_same(ours: Rollout, other: Rollout) -> None:
    close = partial(torch.testing.assert_close, atol=2e-4, rtol=2e-4)
    close(ours.latents, other.latents)
    assert len(ours.transitions) == len(other.transitions)
    for a, b in zip(ours.transitions, other.transitions, strict=True):
        close(a.states[a.state_of], b.states[b.state_of])
        close(a.x_next, b.x_next)
        close(a.log_prob, b.log_prob)


@dataclass(frozen=True)
class Counted:
    """A real model that notes how many rows each call had."""

    model: FlowModel
    calls: list[int]

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def velocity(self, x: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        self.calls.append(len(x))
        return self.model.velocity(x, sigma, conditioning)


@pytest.mark.parametrize("start", [0, 2, 6])
def test_sharing_changes_nothing_but_the_cost(model: FlowModel, start: int) -> None:
    plan = a_plan(model, start)
    shared, alone = sample(model, plan), sample(model, plan, share_computation=False)
    assert_same(shared, alone)
    first = shared.transitions[0]
    assert len(first.states) == len(PROMPTS)
    assert len(alone.transitions[0].states) == len(PROMPTS) * G


@pytest.mark.parametrize("solver", ["euler", "dpm++2-midpoint", "dpm++3"])
@pytest.mark.parametrize("size", [1, 3])
def test_sharing_hands_the_solvers_history_on(flux: FlowModel, solver: str, size: int) -> None:
    """With a window of one, dpm++3 looks back across the fork into the prefix."""
    plan = a_plan(flux, start=2, size=size, solver=solver)
    assert_same(sample(flux, plan), sample(flux, plan, share_computation=False))


@pytest.mark.parametrize("shared_noise", [True, False])
@pytest.mark.parametrize("micro_batch", [1, 2, 7, 100])
def test_the_micro_batch_changes_nothing(model: FlowModel, micro_batch: int, shared_noise: bool) -> None:
    plan = a_plan(model)
    reference = sample(model, plan, micro_batch=12, shared_noise=shared_noise)
    ours = sample(model, plan, micro_batch=micro_batch, shared_noise=shared_noise)
    assert_same(ours, reference)
    images = [(model.decode(result.latents) * 255).round() for result in (ours, reference)]
    assert (images[0] - images[1]).abs().max() <= 1


def test_the_micro_batch_bounds_every_call(flux: FlowModel) -> None:
    calls: list[int] = []
    sample(Counted(flux, calls), a_plan(flux), micro_batch=5)  # type: ignore[arg-type]
    assert max(calls) == 5


@pytest.mark.parametrize("start", [0, 3, 6])
@pytest.mark.parametrize("shared", [True, False])
def test_a_rollout_makes_exactly_the_calls_its_plan_is_priced_at(flux: FlowModel, start: int, shared: bool) -> None:
    plan = a_plan(flux, start)
    calls: list[int] = []
    sample(Counted(flux, calls), plan, share_computation=shared)  # type: ignore[arg-type]
    assert sum(calls) == pytest.approx(plan.price(G, shared).rollout_calls * len(PROMPTS) * G)


def test_prompts_may_be_spread_over_ranks(flux: FlowModel) -> None:
    """A process that has only the last prompts, and knows their numbers, samples the same images."""
    plan = a_plan(flux)
    everything = sample(flux, plan)
    noise = KeyedNoise(seed=1, iteration=7, shape=flux.latent_shape)
    part = rollout(flux, plan, flux.encode(PROMPTS[1:]), noise, group_size=G, micro_batch=5, prompt_ids=[1, 2])
    torch.testing.assert_close(part.latents, everything.latents[G:], atol=1e-5, rtol=1e-5)


def test_a_group_shares_its_start_only_if_asked(flux: FlowModel) -> None:
    plan = ode_plan(flux.grid(4))
    shared, independent = sample(flux, plan), sample(flux, plan, shared_noise=False)
    assert torch.equal(shared.latents[0], shared.latents[1])
    assert not torch.allclose(independent.latents[0], independent.latents[1])


def test_images_of_a_group_differ_after_the_window(flux: FlowModel) -> None:
    latents = sample(flux, a_plan(flux)).latents
    distances = torch.cdist(latents.flatten(1), latents.flatten(1)).fill_diagonal_(1)
    assert distances.min() > 0.1


def test_transitions_are_views_of_one_another(flux: FlowModel) -> None:
    first, second, third = sample(flux, a_plan(flux)).transitions
    assert first.x_next.data_ptr() == second.states.data_ptr()
    assert second.x_next.data_ptr() == third.states.data_ptr()


def test_only_trained_steps_are_recorded(flux: FlowModel) -> None:
    plan = make_plan(flux.grid(10), range(9), trained=[0, 3, 4, 8])
    result = sample(flux, plan)
    assert [transition.step for transition in result.transitions] == [plan.steps[i] for i in (0, 3, 4, 8)]
    assert_same(result, sample(flux, plan, share_computation=False))


def encoded(model: FlowModel, prompts: Sequence[Prompt] = PROMPTS) -> Conditioning:
    return model.encode(prompts)


def transition_log_prob(model: FlowModel, transition: Transition, conditioning: Conditioning) -> Tensor:
    """Under the model as it is now. It runs on unique states; the images that left from one share its mean."""
    sigma = torch.full((len(transition.states),), transition.step.sigma)
    velocity = model.velocity(transition.states, sigma, conditioning[transition.prompt_of_state])
    mean = advance(transition.step.move, transition.states, velocity)
    return log_prob(transition.step.move, transition.x_next, mean[transition.state_of])


def test_the_first_ratio_is_one(model: FlowModel) -> None:
    """Rollout and update see each other's numbers, whatever the micro-batch of either."""
    for transition in sample(model, a_plan(model), micro_batch=5).transitions:
        ratio = (transition_log_prob(model, transition, encoded(model)) - transition.log_prob).exp()
        assert (ratio - 1).abs().max() < 1e-6


def test_shared_states_give_the_gradient_of_the_naive_form(flux: FlowModel) -> None:
    advantages = torch.randn(len(PROMPTS) * G, generator=torch.Generator().manual_seed(0))
    plan = a_plan(flux)
    gradients = []
    flux.pipeline.transformer.requires_grad_(True)
    try:
        for share in (True, False):
            result = sample(flux, plan, share_computation=share)
            log_probs = [transition_log_prob(flux, transition, encoded(flux)) for transition in result.transitions]
            loss = -(advantages * torch.stack(log_probs)).mean()
            parameters = [p for p in flux.pipeline.transformer.parameters() if p.requires_grad]
            gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    finally:
        flux.pipeline.transformer.requires_grad_(False)
    assert gradients[1].norm() > 0
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[1].norm()
