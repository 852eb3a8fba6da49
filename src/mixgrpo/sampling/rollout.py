"""Follow a plan with a model: P prompts, G images each.

A group that starts from one noise is a single trajectory until its first random draw. This trunk - the prefix and the
mean of the first stochastic step - is computed once per prompt. There the group forks into one branch per image:

    trunk    x_0 ... x_k, mean of step k       one row per prompt
    fork     x_{k+1} = mean + std * noise      one row per image
    branch   x_{k+2} ... image

With independent initial noise the trunk has one row per image. The trajectory is float32 throughout.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .field import Conditioning, VelocityField
from .noise import Noise
from .plan import Plan, Step
from .steppers.gaussian import advance, clean_image, draw, log_prob


@dataclass(frozen=True)
class Transition:
    """One trained step of N images, stored as unique states.

    Image n left `states[state_of[n]]` and arrived at `x_next[n]`; `means[state_of[n]]` is the mean of that step under
    the policy that drew it. `state_of` and `prompt_of_state` are on the CPU, the rest on the model's device.
    """

    step: Step
    states: Tensor
    means: Tensor
    state_of: Tensor
    prompt_of_state: Tensor
    x_next: Tensor
    images: range
    """Which of the rollout's images it is of. Their numbers here begin with 0."""

    @property
    def log_prob(self) -> Tensor:
        """Of each image, under the policy that drew it."""
        return log_prob(self.step.move, self.x_next, self.means[self.state_of])


@dataclass(frozen=True)
class Rollout:
    """N = P * G images, group by group. Consecutive transitions share storage: the `x_next` of one are the `states` of
    the next.
    """

    latents: Tensor
    """Final latents."""
    prompt_of: Tensor
    """Each image's prompt, as a row of the conditioning; on the CPU."""
    prompt_ids: tuple[int, ...]
    """The number of each of these prompts in the whole iteration."""
    transitions: tuple[Transition, ...]
    """The trained steps of the plan, or of all plans; none without a window."""

    @property
    def group_size(self) -> int:
        return len(self.latents) // len(self.prompt_ids)


@dataclass(frozen=True)
class _Trunks:
    """Trajectories up to the fork: one row per prompt, or per image if the images share nothing."""

    prompt_of: Tensor
    trunk_of: Tensor
    """Each image's row."""
    states: Tensor
    """Where the step at the fork starts."""
    means: Tensor
    """The mean of that step."""
    history: list[Tensor]
    """The x0_hat of the last steps, newest first, as far as the plan's solver looks back."""

    @staticmethod
    def of(
        plan: Plan, latent_shape: tuple[int, ...], prompt_of: Tensor, trunk_of: Tensor, device: torch.device
    ) -> "_Trunks":
        """To be filled by `run`."""
        depth, shape = min(plan.history_depth, plan.num_common), (len(prompt_of), *latent_shape)
        states, means, *history = (torch.empty(shape, device=device) for _ in range(2 + depth))
        return _Trunks(prompt_of, trunk_of, states, means, history)

    def run(self, rows: slice, model: VelocityField, plan: Plan, initial: Tensor, conditioning: Conditioning) -> None:
        """From the initial noise of these rows to the mean of the step at the fork."""
        history: deque[Tensor] = deque(maxlen=len(self.history))
        mean = initial
        for step in plan.steps[: plan.num_common]:
            x = mean
            mean = _mean(model, step, x, conditioning, history)
        self.states[rows], self.means[rows] = x, mean
        for into, x0 in zip(self.history, history, strict=True):
            into[rows] = x0


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
    on_latents: Callable[[slice, Tensor], None] = lambda rows, latents: None,
) -> Rollout:
    """Sample `group_size` images for each prompt of `conditioning`, at most `micro_batch` rows per model call.

    `prompt_ids` number the prompts in the whole iteration, for a process that has only some of them. `on_latents` is
    called with the rows and final latents of images as soon as they are done. `share_computation` False computes what a
    group has in common image by image, as other trainers do: it changes the time, not the result.
    """
    num_images = len(conditioning) * group_size
    prompt_ids = range(len(conditioning)) if prompt_ids is None else prompt_ids
    device = conditioning.device
    # All that counts prompts, images or states stays on the CPU, where reading it does not wait for the device.
    prompts = torch.arange(len(conditioning))
    images = torch.arange(num_images)
    prompt_of = prompts.repeat_interleave(group_size)

    one_trunk_per_prompt = shared_noise and share_computation
    prompt_of_trunk, trunk_of = (prompts, prompt_of) if one_trunk_per_prompt else (prompt_of, images)
    starts = []
    for i in range(len(prompt_of_trunk)):
        prompt, member = (i, 0) if one_trunk_per_prompt else divmod(i, group_size)
        starts.append((prompt_ids[prompt], None if shared_noise else member))
    trunks = _Trunks.of(plan, noise.shape, prompt_of_trunk, trunk_of, device)

    def run_trunks(rows: slice) -> None:
        initial = _to_device([noise.initial(*start) for start in starts[rows]], device)
        trunks.run(rows, model, plan, initial, conditioning[prompt_of_trunk[rows]])

    if one_trunk_per_prompt:
        for rows in _batches(len(starts), micro_batch):
            run_trunks(rows)

    # Only the states that the update needs are kept, and the final latents.
    fork = plan.num_common - 1
    kept = {len(plan.steps)} | {j for i in plan.trained for j in (i, i + 1) if j > fork}
    visited = {i: torch.empty(num_images, *noise.shape, device=device) for i in kept}
    means = {i: torch.empty(num_images, *noise.shape, device=device) for i in plan.trained if i > fork}
    for rows in _batches(num_images, micro_batch):
        if not one_trunk_per_prompt:
            run_trunks(rows)
        members = [(prompt_ids[n // group_size], n % group_size) for n in range(num_images)[rows]]
        batch_conditioning = conditioning[prompt_of[rows]]
        trunk = trunks.trunk_of[rows]
        history = deque((x0[trunk] for x0 in trunks.history), maxlen=plan.history_depth)
        x, mean = trunks.states[trunk], trunks.means[trunk]
        for i, step in enumerate(plan.steps[fork:], start=fork):
            if i > fork:
                mean = _mean(model, step, x, batch_conditioning, history)
            x = mean
            if step.stochastic:
                x = draw(step.move, mean, _to_device([noise.step(*member, i) for member in members], device))
            if i in means:
                means[i][rows] = mean
            if i + 1 in kept:
                visited[i + 1][rows] = x
        on_latents(rows, x)

    def transition(i: int) -> Transition:
        at_fork = i == fork
        return Transition(
            step=plan.steps[i],
            states=trunks.states if at_fork else visited[i],
            means=trunks.means if at_fork else means[i],
            state_of=trunks.trunk_of if at_fork else images,
            prompt_of_state=trunks.prompt_of if at_fork else prompt_of,
            x_next=visited[i + 1],
            images=range(num_images),
        )

    return Rollout(visited[len(plan.steps)], prompt_of, tuple(prompt_ids), tuple(transition(i) for i in plan.trained))


def _to_device(drawn: list[Tensor], device: torch.device) -> Tensor:
    """From pinned memory the copy to a GPU is asynchronous."""
    noise = torch.stack(drawn)
    return noise.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else noise.to(device)


def _mean(model: VelocityField, step: Step, x: Tensor, conditioning: Conditioning, history: deque[Tensor]) -> Tensor:
    """The mean of a step, by one call of the model. x0_hat is added to `history` if that has room."""
    velocity = model.velocity(x, torch.full((len(x),), step.sigma, device=x.device), conditioning)
    mean = advance(step.move, x, velocity, history)
    if history.maxlen:
        history.appendleft(clean_image(x, velocity, step.sigma))
    return mean


def _batches(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))
