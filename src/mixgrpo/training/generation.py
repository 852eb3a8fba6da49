"""From prompts to images, the one path for training, evaluation and sampling: encode, roll out, decode.

Images are handed over a micro-batch at a time, as soon as they are done. What stays in memory is the rollout, which
`images_of` therefore makes for a micro-batch of prompts at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import FlowModel
from mixgrpo.models.text_cache import Encode
from mixgrpo.sampling.field import Conditioning, VelocityField, joined
from mixgrpo.sampling.noise import Noise
from mixgrpo.sampling.plan import Plan, ode_plan
from mixgrpo.sampling.rollout import Rollout, rollout


@dataclass(frozen=True)
class Generation:
    rollout: Rollout
    conditioning: Conditioning


def equal_neighbours(items: Sequence[Any]) -> list[list[int]]:
    """The positions of items that follow each other and are equal."""
    return [[position for position, _ in group] for _, group in groupby(enumerate(items), key=lambda pair: pair[1])]


def together(parts: Sequence[Generation]) -> Generation:
    """Of prompts that follow each other, whose plans may differ."""
    if len(parts) == 1:
        return parts[0]
    rollouts = [part.rollout for part in parts]
    prompts_before = [*accumulate((len(one.prompt_ids) for one in rollouts), initial=0)]
    images_before = [*accumulate((len(one.latents) for one in rollouts), initial=0)]
    transitions = tuple(
        replace(
            transition,
            prompt_of_state=transition.prompt_of_state + prompts,
            images=range(images, images + len(one.latents)),
        )
        for one, prompts, images in zip(rollouts, prompts_before, images_before, strict=False)
        for transition in one.transitions
    )
    rollout = Rollout(
        torch.cat([one.latents for one in rollouts]),
        torch.cat([one.prompt_of + before for one, before in zip(rollouts, prompts_before, strict=False)]),
        tuple(prompt for one in rollouts for prompt in one.prompt_ids),
        transitions,
    )
    return Generation(rollout, joined([part.conditioning for part in parts]))


def without_padding(images: Iterator[tuple[range, Tensor]], count: int) -> Iterator[tuple[range, Tensor]]:
    """The images numbered below `count`."""
    for numbers, pixels in images:
        own = range(numbers.start, min(numbers.stop, count))
        if own:
            yield own, pixels[: len(own)]


@torch.no_grad()
def generate(
    model: FlowModel,
    encode: Encode,
    prompts: Sequence[Prompt],
    plan: Plan,
    noise: Noise,
    *,
    group_size: int,
    micro_batch: int,
    on_images: Callable[[range, Tensor], None],
    shared_noise: bool = True,
    share_computation: bool = True,
    prompt_ids: Sequence[int] | None = None,
    field: VelocityField | None = None,
) -> Generation:
    """`group_size` images for each prompt. `on_images` gets their numbers and pixels [n, frames, 3, height, width].
    `field`: another velocity to follow than the model's own.
    """
    conditioning = encode(prompts)
    numbers = range(len(prompts) * group_size)
    sampled = rollout(
        field or model,
        plan,
        conditioning,
        noise,
        group_size=group_size,
        micro_batch=micro_batch,
        shared_noise=shared_noise,
        share_computation=share_computation,
        prompt_ids=prompt_ids,
        on_latents=lambda rows, latents: on_images(numbers[rows], model.decode(latents)),
    )
    return Generation(sampled, conditioning)


def images_of(
    model: FlowModel,
    encode: Encode,
    prompts: Sequence[Prompt],
    noise: Noise,
    *,
    steps: int,
    micro_batch: int,
    prompt_ids: Sequence[int] | None = None,
    field: VelocityField | None = None,
) -> Iterator[tuple[range, Tensor]]:
    """One image per prompt, by Euler steps on the model's own grid, `micro_batch` prompts at a time: their numbers and
    pixels. The noise depends on a prompt's position, or its id, alone.
    """
    plan = ode_plan(model.grid(steps))
    prompt_ids = range(len(prompts)) if prompt_ids is None else prompt_ids
    for start in range(0, len(prompts), micro_batch):
        numbers = range(start, min(start + micro_batch, len(prompts)))
        images: list[Tensor] = []
        generate(
            model,
            encode,
            [prompts[i] for i in numbers],
            plan,
            noise,
            group_size=1,
            micro_batch=micro_batch,
            on_images=lambda _, pixels: images.append(pixels),  # noqa: B023 - called before the next turn
            shared_noise=False,
            prompt_ids=[prompt_ids[i] for i in numbers],
            field=field,
        )
        yield numbers, torch.cat(images)
