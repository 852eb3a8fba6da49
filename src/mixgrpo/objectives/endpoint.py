"""Learn from final images alone, whoever drew them: noise them again, and judge the velocity there."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.recipe.sections import RenoiseConfig
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout

from .endpoint_losses import Draws
from .objective import Loss, Selection, Term, Velocities

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Endpoint:
    loss: Callable[[Draws, Tensor], Loss]
    """From the draws of some images and their advantages."""
    renoise: RenoiseConfig
    uses_old_policy: bool
    uses_average: bool
    uses_reference: bool

    needs_window = False

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        images, count = rollout.latents, self.renoise.draws
        sigma = noise_levels(rollout, noise, self.renoise).to(images.device)
        drawn = _noise(rollout, noise, self.renoise).to(images.device)
        level = sigma.view(*sigma.shape, *[1] * (images.dim() - 1))
        states = (1 - level) * images[:, None] + level * drawn
        target = drawn - images[:, None]

        def loss(selection: Selection, velocities: Velocities) -> Loss:
            own, at = selection.images, selection.state_of
            reference = None if velocities.reference is None else velocities.reference[at]
            average = None if velocities.average is None else velocities.average[at]
            draws = Draws(sigma[own], target[own], velocities.current[at], velocities.old[at], reference, average)
            return self.loss(draws, advantages[own])

        state_of = torch.arange(len(images) * count).view(-1, count)
        prompt_of_state = rollout.prompt_of.repeat_interleave(count)
        return [Term(states.flatten(0, 1), sigma.flatten(), prompt_of_state, state_of, range(len(images)), loss)]


def noise_levels(rollout: Rollout, noise: KeyedNoise, settings: RenoiseConfig) -> Tensor:
    """[N, D]: the same for all images of a group. Over an iteration they are spread evenly, whatever the number of
    prompts and whoever has them: multiples of the golden ratio, modulo 1, from a start that is drawn.
    """
    start = noise.uniform(0, None, 0)
    low, high = settings.range
    per_prompt = [
        [
            low + (high - low) * ((start + (prompt * settings.draws + draw) * _GOLDEN) % 1)
            for draw in range(settings.draws)
        ]
        for prompt in rollout.prompt_ids
    ]
    return torch.tensor(per_prompt).repeat_interleave(rollout.group_size, 0)


def _noise(rollout: Rollout, noise: KeyedNoise, settings: RenoiseConfig) -> Tensor:
    """[N, D, *latents]. Shared by a group, it cancels in the comparison of its images."""
    size = rollout.group_size
    images: Sequence[int | None] = [None] if settings.shared else range(size)
    drawn = torch.stack(
        [
            torch.stack([noise.renoise(prompt, image, draw) for draw in range(settings.draws)])
            for prompt in rollout.prompt_ids
            for image in images
        ]
    )
    return drawn.repeat_interleave(size, 0) if settings.shared else drawn
