"""Follow a plan with a model: P prompts, G images each.

A group that starts from one noise is one trajectory until its first random draw. That trunk - the prefix
and the mean of the first stochastic step - is computed once per prompt; there the group forks:

    trunk    x_0 ... x_k, mean of step k       a row per prompt
    fork     x_{k+1} = mean + std * noise      a row per image
    branch   x_{k+2} ... image

With independent noises the trunk simply has a row per image. The trajectory is float32 throughout.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixgrpo.models.base import Conditioning, VelocityField

from .noise import Noise
from .plan import Plan, Step
from .steppers.gaussian import advance, clean_image, draw, log_prob


@dataclass(frozen=True)
class Transition:
    """One trained step of all N images, as unique states: image n went from `states[state_of[n]]`, which led to
    `means[state_of[n]]` on average under the policy that drew it, to `x_next[n]`.
    """

    step: Step
    states: Tensor
    means: Tensor
    state_of: Tensor
    prompt_of_state: Tensor
    x_next: Tensor

    @property
    def log_prob(self) -> Tensor:
        """Of each image, under the policy that drew it."""
        return log_prob(self.step.move, self.x_next, self.means[self.state_of])

    def of_images(self, images: Tensor) -> "Transition":
        """This step for some of the images only, on the states they left from."""
        left_from, state_of = torch.unique(self.state_of[images], return_inverse=True)
        return Transition(
            self.step,
            self.states[left_from],
            self.means[left_from],
            state_of,
            self.prompt_of_state[left_from],
            self.x_next[images],
        )


@dataclass(frozen=True)
class Rollout:
    """N = P * G images, group by group. Consecutive transitions share storage: the `x_next` of one are the
    `states` of the other.
    """

    latents: Tensor
    prompt_of: Tensor
    transitions: tuple[Transition, ...]


@dataclass(frozen=True)
class _Trunks:
    """Trajectories up to the fork: a row per prompt, or per image where images have nothing in common."""

    prompt_of: Tensor
    of_image: Tensor
    states: Tensor
    """What the step at the fork starts from."""
    means: Tensor
    """Where it leads on average."""
    history: list[Tensor]
    """x0_hat of the last steps, newest first, as far as the plan's solver looks back."""


@torch.no_grad()
def rollout(
    model: VelocityField,
    plan: Plan,
    conditioning: Conditioning,
    noise: Noise,
    *,
    group_size: int,
    micro_batch: int,
    shared_noise: bool = True,
    share_computation: bool = True,
    prompt_ids: Sequence[int] | None = None,
    finished: Callable[[slice, Tensor], None] = lambda rows, latents: None,
) -> Rollout:
    """Sample `group_size` images for each prompt of `conditioning`, at most `micro_batch` rows per model call.

    `prompt_ids` number the prompts in the whole iteration, for a process that has only some of them.
    `finished` is told which images are done and their latents, as soon as they are.
    `share_computation` False computes what a group has in common image by image, as other trainers do: it
    changes the time, not the result.
    """
    num_images = len(conditioning) * group_size
    prompt_ids = range(len(conditioning)) if prompt_ids is None else prompt_ids
    device = conditioning.device
    prompts = torch.arange(len(conditioning), device=device)
    images = torch.arange(num_images, device=device)
    prompt_of = prompts.repeat_interleave(group_size)

    per_prompt = shared_noise and share_computation
    prompt_of_trunk, trunk_of = (prompts, prompt_of) if per_prompt else (prompt_of, images)
    starts = []
    for i in range(len(prompt_of_trunk)):
        prompt, member = (i, 0) if per_prompt else divmod(i, group_size)
        starts.append((prompt_ids[prompt], None if shared_noise else member))
    trunks = _grow_trunks(model, plan, conditioning, noise, micro_batch, starts, prompt_of_trunk, trunk_of)

    # Only the latents that the update needs are kept, and the last ones.
    fork = plan.num_common - 1
    kept = {len(plan.steps)} | {j for i in plan.trained for j in (i, i + 1) if j > fork}
    visited = {i: torch.empty(num_images, *noise.shape, device=device) for i in kept}
    means = {i: torch.empty(num_images, *noise.shape, device=device) for i in plan.trained if i > fork}
    for rows in _batches(num_images, micro_batch):
        members = [(prompt_ids[n // group_size], n % group_size) for n in range(num_images)[rows]]
        told = conditioning[prompt_of[rows]]
        trunk = trunks.of_image[rows]
        history = deque((x0[trunk] for x0 in trunks.history), maxlen=plan.history_depth)
        x, mean = trunks.states[trunk], trunks.means[trunk]
        for i, step in enumerate(plan.steps[fork:], start=fork):
            if i > fork:
                mean = _mean(model, step, x, told, history)
            x = mean
            if step.stochastic:
                x = draw(step.move, mean, _brought([noise.step(*member, i) for member in members], device))
            if i in means:
                means[i][rows] = mean
            if i + 1 in kept:
                visited[i + 1][rows] = x
        finished(rows, x)

    def transition(i: int) -> Transition:
        at_fork = i == fork
        return Transition(
            step=plan.steps[i],
            states=trunks.states if at_fork else visited[i],
            means=trunks.means if at_fork else means[i],
            state_of=trunks.of_image if at_fork else images,
            prompt_of_state=trunks.prompt_of if at_fork else prompt_of,
            x_next=visited[i + 1],
        )

    return Rollout(visited[len(plan.steps)], prompt_of, tuple(transition(i) for i in plan.trained))


def transition_means(model: VelocityField, transition: Transition, conditioning: Conditioning) -> Tensor:
    """Where the model as it is now leads from each unique state, on average. Differentiable."""
    told = conditioning[transition.prompt_of_state]
    return _mean(model, transition.step, transition.states, told, deque(maxlen=0))


def transition_log_prob(model: VelocityField, transition: Transition, conditioning: Conditioning) -> Tensor:
    """How likely each image's transition is to the model as it is now. Differentiable.

    The model runs on unique states; the images that left from one share its mean.
    """
    mean = transition_means(model, transition, conditioning)
    return log_prob(transition.step.move, transition.x_next, mean[transition.state_of])


def _grow_trunks(
    model: VelocityField,
    plan: Plan,
    conditioning: Conditioning,
    noise: Noise,
    micro_batch: int,
    starts: Sequence[tuple[int, int | None]],
    prompt_of: Tensor,
    of_image: Tensor,
) -> _Trunks:
    """Run every trunk from its initial noise to the mean of the step at the fork."""
    shape = (len(starts), *noise.shape)
    depth = min(plan.history_depth, plan.num_common)
    states, means, *stored = (torch.empty(shape, device=conditioning.device) for _ in range(2 + depth))
    for rows in _batches(len(starts), micro_batch):
        told = conditioning[prompt_of[rows]]
        history: deque[Tensor] = deque(maxlen=depth)
        mean = _brought([noise.initial(*start) for start in starts[rows]], conditioning.device)
        for step in plan.steps[: plan.num_common]:
            x = mean
            mean = _mean(model, step, x, told, history)
        states[rows], means[rows] = x, mean
        for into, x0 in zip(stored, history, strict=True):
            into[rows] = x0
    return _Trunks(prompt_of, of_image, states, means, stored)


def _brought(drawn: list[Tensor], device: torch.device) -> Tensor:
    """Onto the device. From pinned memory a GPU takes it when it gets there, and nobody waits."""
    noise = torch.stack(drawn)
    return noise.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else noise.to(device)


def _mean(model: VelocityField, step: Step, x: Tensor, told: Conditioning, history: deque[Tensor]) -> Tensor:
    """Where a step leads on average, by one call of the model. `history` takes the x0_hat, if it has room."""
    velocity = model.velocity(x, torch.full((len(x),), step.sigma, device=x.device), told)
    mean = advance(step.move, x, velocity, history)
    if history.maxlen:
        history.appendleft(clean_image(x, velocity, step.sigma))
    return mean


def _batches(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
