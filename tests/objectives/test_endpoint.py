import pytest
import torch

from mixgrpo.objectives.build import build_objective
from mixgrpo.objectives.endpoint import Endpoint, noise_levels
from mixgrpo.recipe.errors import RecipeError
from mixgrpo.recipe.objectives import OBJECTIVES, Rvm
from mixgrpo.recipe.sections import RenoiseConfig
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout
from runs import small_recipe, small_trainer

SHAPE = (2, 3)
ENDPOINTS = sorted({*OBJECTIVES} - {"clipped-ratio", "image-credit"})


def rollout(prompts: tuple[int, ...] = (0, 1, 2, 3), group_size: int = 3) -> Rollout:
    images = len(prompts) * group_size
    latents = torch.randn(images, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Rollout(latents, torch.arange(len(prompts)).repeat_interleave(group_size), prompts, ())


def endpoint(**settings: object) -> Endpoint:
    objective = build_objective(Rvm(type="rvm"), RenoiseConfig(**settings))  # type: ignore[arg-type]
    assert isinstance(objective, Endpoint)
    return objective


def noise(iteration: int = 0) -> KeyedNoise:
    return KeyedNoise(0, iteration, SHAPE)


@pytest.mark.parametrize(("prompts", "draws"), [(24, 1), (5, 4), (64, 2)])
def test_noise_levels_are_spread_evenly_and_begin_elsewhere_every_iteration(prompts: int, draws: int) -> None:
    settings = RenoiseConfig(draws=draws, range=(0.5, 0.9))
    levels = noise_levels(rollout((*range(prompts),)), noise(), settings)
    own = ((levels[::3].flatten() - 0.5) / 0.4).sort().values
    assert own.min() >= 0
    assert own.max() <= 1
    gaps = torch.cat([own, own[:1] + 1]).diff()
    assert gaps.max() < 2.7 / len(own), "no gap is much larger than an even share"
    assert (levels.view(prompts, 3, draws) == levels.view(prompts, 3, draws)[:, :1]).all(), "a group has the same"
    assert not torch.equal(levels, noise_levels(rollout((*range(prompts),)), noise(1), settings))


def test_a_process_finds_the_levels_of_its_prompts_alone() -> None:
    settings = RenoiseConfig(draws=2)
    every = noise_levels(rollout((0, 1, 2, 3)), noise(), settings)
    assert torch.equal(noise_levels(rollout((2, 3)), noise(), settings), every[6:])


@pytest.mark.parametrize("shared", [True, False])
def test_states_lie_between_an_image_and_noise_and_their_velocity_leads_back(shared: bool) -> None:
    sampled = rollout()
    (term,) = endpoint(draws=2, shared=shared).terms(sampled, torch.zeros(12), noise())
    assert term.states.shape == (24, *SHAPE)
    assert term.prompt_of_state.tolist() == [i // 6 for i in range(24)]
    level = term.sigma.view(-1, 1, 1)
    drawn = (term.states - (1 - level) * sampled.latents.repeat_interleave(2, 0)) / level
    groups = drawn.view(4, 3, 2, *SHAPE)
    same = torch.isclose(groups, groups[:, :1], atol=1e-4).flatten(1).all(1)
    assert same.tolist() == [shared] * 4
    assert term.state_of.tolist() == [[2 * i, 2 * i + 1] for i in range(12)]


@pytest.mark.parametrize("kind", ENDPOINTS)
@pytest.mark.parametrize("shared_noise", [True, False], ids=["forked", "ode"])
def test_each_trains_on_images_of_either_sampler(kind: str, shared_noise: bool) -> None:
    """Two updates, so that old velocities are looked up."""
    trainer = small_trainer(
        rollout={"prompts": 2, "group_size": 3, "micro_batch": 4, "shared_noise": shared_noise},
        objective={"type": kind, "kl_weight": 0.1},
        renoise={"draws": 2},
        update={"learning_rate": 1e-3, "minibatches": 2},
    )
    metrics = trainer.iterate()
    assert metrics["grad_norm"] > 0
    assert metrics["window"] == ([0, 1] if shared_noise else [])
    assert metrics["update_rows"] == 2 * 6
    if "first_ratio_error" in metrics:
        assert metrics["first_ratio_error"] < 1e-4


@pytest.mark.parametrize(
    "objective", [{"type": "awm", "average_weight": 0.1}, {"type": "nft", "around": "average"}], ids=["awm", "nft"]
)
def test_averaged_weights_hold_the_velocity(objective: dict[str, object]) -> None:
    """They are looked up before the update, and the trained weights are in place again afterwards."""
    trainers = [
        small_trainer(objective=chosen, update={"learning_rate": 1e-2, "ema_decay": 0.5, "max_grad_norm": 1e9})
        for chosen in ({"type": objective["type"]}, objective)
    ]
    first, second = ([trainer.iterate() for trainer in trainers] for _ in range(2))
    assert first[0]["grad_norm"] == pytest.approx(first[1]["grad_norm"], rel=1e-4), "the average is the model itself"
    assert second[0]["grad_norm"] != pytest.approx(second[1]["grad_norm"], rel=1e-2)
    if objective["type"] == "awm":
        assert first[1]["distance_to_average"] < 1e-9 < second[1]["distance_to_average"]
    with pytest.raises(RecipeError, match=r"needs update\.ema_decay"):
        small_recipe(objective=objective)


def test_more_than_one_pass_sees_the_images_again() -> None:
    once, twice = (small_trainer(objective={"type": "rvm"}, update={"passes": passes}).iterate() for passes in (1, 2))
    assert twice["update_rows"] == 2 * once["update_rows"] > 0


def test_both_losses_at_once() -> None:
    alone = small_recipe(objective={"type": "image-credit"})
    both = small_recipe(objective={"type": "image-credit", "endpoint_weight": 2.0}, renoise={"draws": 3})
    assert (alone.renoised, both.renoised) == (0, 3)
    weighted = [
        small_trainer(
            objective={"type": "image-credit", "clip_range": 1e-2, "endpoint_weight": weight},
            update={"learning_rate": 1e-3, "max_grad_norm": 1e9},
        ).iterate()
        for weight in (1e-6, 1.0, 2.0)
    ]
    assert weighted[0]["grad_norm"] < weighted[1]["grad_norm"] < weighted[2]["grad_norm"]
    assert weighted[0]["update_rows"] > small_trainer(objective={"type": "image-credit"}).iterate()["update_rows"]
