import itertools

import torch

from mixgrpo.sampling.noise import KeyedNoise

SHAPE = (8, 16)


def test_a_draw_depends_on_its_key_alone() -> None:
    torch.manual_seed(0)
    first = KeyedNoise(1, 2, SHAPE).step(3, 4, 5)
    torch.manual_seed(1)
    other_draws_first = KeyedNoise(1, 2, SHAPE)
    other_draws_first.initial(0, None)
    assert torch.equal(first, other_draws_first.step(3, 4, 5))


def test_every_part_of_the_key_matters() -> None:
    draws = [KeyedNoise(seed, iteration, SHAPE).initial(0, None) for seed, iteration in ((0, 0), (0, 1), (1, 0))]
    noise = KeyedNoise(0, 0, SHAPE)
    draws += [noise.initial(1, None), noise.initial(0, 0), noise.initial(0, 1)]
    draws += [noise.step(*key) for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))]
    for a, b in itertools.combinations(draws, 2):
        assert (a - b).abs().max() > 0.1


def test_draws_are_standard_normal() -> None:
    noise = KeyedNoise(0, 0, SHAPE)
    draws = torch.stack([noise.step(p, i, s) for p in range(4) for i in range(12) for s in range(10)])
    assert abs(draws.mean().item()) < 0.01
    assert abs(draws.std().item() - 1) < 0.01
    across_draws = torch.corrcoef(draws.flatten(1)[:60]).fill_diagonal_(0)
    assert across_draws.abs().max() < 0.4


def test_an_objectives_draws_differ_by_prompt_image_and_draw() -> None:
    noise = KeyedNoise(0, 0, (4,))
    draws = [noise.renoise(*key) for key in ((0, None, 0), (1, None, 0), (0, 1, 0), (0, None, 1))]
    assert len({tuple(draw.tolist()) for draw in draws}) == 4
    assert torch.equal(noise.renoise(0, None, 1), draws[3])
    assert not torch.equal(noise.renoise(0, None, 0), noise.initial(0, None))
    levels = [noise.uniform(*key) for key in ((0, None, 0), (1, None, 0), (0, 1, 0), (0, None, 1))]
    assert len(set(levels)) == 4
    assert all(0 <= level < 1 for level in levels)
    assert noise.uniform(0, 1, 0) == levels[2]
