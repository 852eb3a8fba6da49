"""The training loop: prompts, plan, rollout, rewards, advantages, objective, update; then the window slides."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mixgrpo.data.choice import Batch, Tried, choose
from mixgrpo.data.prompts import Prompt
from mixgrpo.models.text_cache import encoder_of
from mixgrpo.objectives.advantages import advantages, has_signal, reward_spread
from mixgrpo.objectives.build import build_objective
from mixgrpo.objectives.objective import Objective, Term
from mixgrpo.parallel import distributed
from mixgrpo.parallel.sharding import sum_between_machines
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.reward import Reward
from mixgrpo.sampling.noise import KeyedNoise, Noise
from mixgrpo.sampling.plan import Plan, ode_plan

from .generation import Generation, equal_neighbours, generate, together
from .metrics import Clock, Metrics, reward_metrics, update_metrics
from .policy import Policy, PolicySettings
from .scoring import Scored, Scorer, of_all_ranks, stop_if_too_many_failed
from .scouting import KeptNoise, best_and_worst
from .snapshot import Snapshot
from .update import UpdateStats, accumulate, groups_of_all_ranks, minibatches, old_velocities, select
from .weights import TrainingStopped, learning_rate

_TRIED = "tried/"


@dataclass(frozen=True)
class Signal:
    """What the update learns from, on this rank."""

    advantages: Tensor
    """[N], NaN for images without a score."""
    groups: list[list[int]]
    """The images with an advantage of each group whose rewards differ. The model is not run on the others."""


class Trainer:
    """A policy, a recipe and rewards, and everything that changes while they train."""

    def __init__(
        self,
        recipe: Recipe,
        policy: Policy,
        rewards: Mapping[str, Reward],
        prompts: Sequence[Prompt],
        objective: Objective | None = None,
    ) -> None:
        """`objective`: instead of the recipe's."""
        if recipe.rollout.prompts < distributed.world_size():
            raise ValueError(
                f"rollout.prompts = {recipe.rollout.prompts}: must be at least {distributed.world_size()}, the number "
                "of processes, because each takes whole groups"
            )
        self.recipe, self.policy, self.rewards, self.prompts = recipe, policy, rewards, prompts
        self.on_stage: Callable[[str], None] = lambda stage: None
        """Told what an iteration is doing now."""
        self.model = policy.model
        self._given_objective = objective
        self.objective = objective or build_objective(recipe.objective, recipe.renoise)
        if self.objective.uses_reference and policy.reference is None:
            raise ValueError("the objective needs a reference model, and the policy was made for one that does not")
        if PolicySettings.of(recipe) != policy.settings:
            raise ValueError(
                "the recipe differs from the policy's in settings of the model, its weights or the optimizer"
            )
        self.grid = recipe.own_grid() or self.model.grid(recipe.grid.steps)
        if policy.sharded and recipe.window.strategy == "stratified":
            raise ValueError(
                "window.strategy = stratified: with a window for each prompt processes make different model calls, and "
                "a sharded network is run by all of them together. Set parallel.shard=none or window.strategy=random"
            )
        if recipe.rollout.shared_noise and not self.plan_at(0).window:
            raise ValueError(
                "rollout.shared_noise = true: without an SDE window all images of a group would be the same; set it to "
                "false"
            )
        self.iteration = 0
        self.tried = Tried()
        self.encode = encoder_of(self.model, recipe.speed, recipe.rollout.micro_batch)
        self.scorer = Scorer(rewards, recipe.scoring, overlap=recipe.speed.overlap_rewards)

    def with_recipe(self, recipe: Recipe) -> "Trainer":
        """Another trainer of the same policy, on the same prompts and rewards."""
        return Trainer(recipe, self.policy, self.rewards, self.prompts, self._given_objective)

    def iterate(self) -> Metrics:
        """Run the next iteration and return its metrics."""
        metrics, chosen, spreads = self._run(self.iteration)
        self.tried.record(chosen.places, chosen.new, spreads)
        self.iteration += 1
        return metrics

    def run_iteration(self, k: int) -> Metrics:
        """Learn from one as if it came now, and leave the count and the choice of prompts as they are."""
        return self._run(k)[0]

    def _run(self, k: int) -> tuple[Metrics, Batch, list[float]]:
        """Metrics, the prompts, and by how much each one's rewards differed."""
        clock = Clock()
        settings = self.recipe.rollout
        chosen = choose(self.prompts, self.tried, k, settings.prompts, settings.revisited, self.recipe.seed)
        prompts = chosen.prompts
        local = distributed.local_range(len(prompts))  # this rank's groups; from here on all numbers are its own
        noise: Noise = self.noise_at(k)
        if self.recipe.scouting.candidates:
            self.on_stage("scouting")
            noise = self.scouted(k, prompts, local)
            clock.lap("scouting")
        self.on_stage("drawing")
        plans = self.plans(k, len(prompts))
        runs = [range(local[own[0]], local[own[-1]] + 1) for own in equal_neighbours([plans[i] for i in local])]
        generation = together([self.generate(k, plans[run.start], prompts, run, noise) for run in runs])
        clock.lap("rollout")
        self.on_stage("waiting for rewards")
        everything = self._collect(len(prompts))
        clock.lap("reward")
        self.on_stage("learning")
        scores = {name: values.view(len(prompts), -1) for name, values in everything.values.items()}
        signal = self.signal(scores, local)
        stats, grad_norms = self.update(k, generation, signal)
        clock.lap("update")
        metrics = {
            "iteration": k,
            "window": sorted({step for plan in plans for step in plan.window}),
            **reward_metrics(everything, self.recipe.rollout.group_size),
            "skipped_groups": len(prompts) - distributed.total(len(signal.groups)),
            **update_metrics(stats),
            "grad_norm": max(grad_norms, default=0.0),
            "learning_rate": self.learning_rate(k),
            "seconds": clock.laps,
        }
        return metrics, chosen, reward_spread(scores, self.recipe.weights).tolist()

    def plans(self, k: int, prompts: int) -> list[Plan]:
        """Of each prompt. Those with the same window have the same plan."""
        windows = [self.recipe.window_at(k, prompt) for prompt in range(prompts)]
        plan_of = {window: self.plan_at(k, windows.index(window)) for window in {*windows}}
        return [plan_of[window] for window in windows]

    def plan_at(self, k: int, prompt: int = 0) -> Plan:
        """The recipe's; by ODE for an objective that was given and needs no window."""
        if self.objective.needs_window or not self.recipe.objective.needs_window:
            return self.recipe.plan_at(k, self.grid, prompt)
        return ode_plan(self.grid, self.recipe.suffix.solver)

    def scouted(self, k: int, prompts: Sequence[Prompt], local: range) -> KeptNoise:
        """Of the candidates of these prompts, the noise of the best and the worst."""
        recipe, settings = self.recipe, self.recipe.scouting
        grid = recipe.own_grid(settings.steps) or self.model.grid(settings.steps)
        plan, candidates = ode_plan(grid, recipe.suffix.solver), settings.candidates
        self.generate(k, plan, prompts, local, group_size=candidates)
        scores = {name: values.view(len(prompts), -1) for name, values in self._collect(len(prompts)).values.items()}
        compared = advantages(
            {name: scores[name] for name in recipe.weights}, recipe.weights, recipe.advantage.aggregation
        )
        return KeptNoise(self.noise_at(k), dict(enumerate(best_and_worst(compared, recipe.rollout.group_size))))

    def _collect(self, prompts: int) -> Scored:
        """The scores of all ranks."""
        everything = of_all_ranks(self.scorer.collect(), prompts)
        stop_if_too_many_failed(everything, self.recipe.scoring.max_failed_fraction)
        return everything

    def generate(
        self,
        k: int,
        plan: Plan,
        prompts: Sequence[Prompt],
        local: range,
        noise: Noise | None = None,
        group_size: int | None = None,
    ) -> Generation:
        """Draw the groups of the local ones of these prompts and pass their images on to the rewards. `noise` and
        `group_size`: None are the iteration's own and the recipe's.
        """
        settings = self.recipe.rollout
        size = group_size or settings.group_size
        drawn = distributed.padded(local, len(prompts)) if self.policy.sharded else [*local]
        scored = len(local) * size

        def score(numbers: range, images: Tensor) -> None:
            own = [n for n in numbers if n < scored]
            if own:
                self.scorer.submit(images[: len(own)], [prompts[local[n // size]] for n in own])

        with self.precision():
            return generate(
                self.model,
                self.encode,
                [prompts[i] for i in drawn],
                plan,
                noise or self.noise_at(k),
                group_size=size,
                micro_batch=settings.micro_batch,
                on_images=score,
                shared_noise=settings.shared_noise,
                share_computation=self.recipe.speed.share_computation,
                prompt_ids=drawn,
            )

    def noise_at(self, k: int) -> KeyedNoise:
        return KeyedNoise(self.recipe.seed, k, self.model.latent_shape)

    def signal(self, scores: Mapping[str, Tensor], local: range) -> Signal:
        """`scores` are [prompts, group size] by reward, of all ranks; `local` are this one's prompts."""
        weights, settings = self.recipe.weights, self.recipe.advantage
        trained_on = {name: scores[name] for name in weights}
        advantage = advantages(trained_on, weights, settings.aggregation, settings.clip, settings.spread)
        usable = (advantage.isfinite() & has_signal(trained_on)[:, None])[local.start : local.stop]
        advantage = settings.scale * advantage[local.start : local.stop]
        numbers = torch.arange(advantage.numel()).view_as(advantage)
        groups = [images[chosen].tolist() for images, chosen in zip(numbers, usable, strict=True)]
        return Signal(advantage.flatten(), [group for group in groups if group])

    def update(self, k: int, generation: Generation, signal: Signal) -> tuple[UpdateStats, list[float]]:
        """Learn from these images, together with all other processes. Returns the statistics and gradient norms."""
        settings, micro_batch = self.recipe.update, self.recipe.rollout.micro_batch
        stats, norms = UpdateStats(), []
        latents, together = generation.rollout.latents, self.policy.sharded
        advantage = torch.full((len(latents),), torch.nan)  # also of groups that were drawn to pad this rank's share
        advantage[: len(signal.advantages)] = signal.advantages
        with torch.no_grad():
            terms = self.objective.terms(generation.rollout, advantage.to(latents.device), self.noise_at(k))
        old, average = self._earlier_velocities(terms, generation, signal)
        terms_per_image = sum(len(term.images) for term in terms) / len(latents)
        groups = groups_of_all_ranks(signal.groups, self.recipe.rollout.prompts, self.recipe.rollout.group_size)
        # Images of a group with equal rewards have advantage 0: they count in the mean without a run of the model.
        with_skipped = distributed.total(int(signal.advantages.isfinite().sum())) / max(1, sum(map(len, groups)))
        key, rank = f"{self.recipe.seed}/{k}", distributed.rank()
        split = [
            minibatch
            for turn in range(settings.passes)
            for minibatch in minibatches(
                groups, settings.minibatches, f"{key}/{turn}" if turn else key, rank, settings.split_groups
            )
        ]
        self.policy.weights.optimizer.zero_grad()  # an interrupted update may have left some
        for number, minibatch in enumerate(split):
            selections = select(terms, minibatch.images, micro_batch, together=together)
            with self.precision():
                accumulate(
                    self.model,
                    self.objective,
                    terms,
                    selections,
                    generation.conditioning,
                    total=minibatch.size * with_skipped * terms_per_image,
                    reference=self.policy.reference,
                    old=old,
                    average=average,
                    first=number == 0,
                    stats=stats,
                    before_backward=partial(sum_between_machines, self.model.networks.values()),
                )
            try:
                norms.append(self.policy.weights.step(self.learning_rate(k)))
            except TrainingStopped as stopped:
                raise TrainingStopped(
                    f"iteration {k}, optimizer step {number + 1} of {len(split)}: {stopped}"
                ) from None
        return stats, norms

    def _earlier_velocities(
        self, terms: Sequence[Term], generation: Generation, signal: Signal
    ) -> tuple[list[Tensor] | None, list[Tensor] | None]:
        """Of the old policy, unless that is the current one, and of averaged weights: as far as they are used."""
        update, uses_average = self.recipe.update, self.objective.uses_average
        uses_old = self.objective.uses_old_policy and update.minibatches * update.passes > 1
        if not (uses_old or uses_average):
            return None, None
        images = [image for group in signal.groups for image in group]
        selections = select(terms, images, self.recipe.rollout.micro_batch, together=self.policy.sharded)
        look = partial(old_velocities, self.model, terms, selections, generation.conditioning)
        with self.precision():
            old = look() if uses_old else None
            if not uses_average:
                return old, None
            with self.policy.weights.averaged():
                return old, look()

    def learning_rate(self, k: int) -> float:
        return learning_rate(self.recipe.update, k, self.recipe.iterations)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """The same in rollout and update, or their ratio would not start at 1."""
        dtype = getattr(torch, self.recipe.model.dtype)
        with torch.autocast(self.model.device.type, dtype, enabled=dtype != torch.float32):
            yield

    def snapshot(self) -> Snapshot:
        state = self.policy.weights.snapshot(self.iteration)
        tried = {f"{_TRIED}{name}": tensor for name, tensor in self.tried.tensors().items()}
        return Snapshot(state.iteration, {**state.tensors, **tried})

    def room(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Where a tensor of a snapshot is read to."""
        return (
            torch.empty(shape, dtype=dtype) if name.startswith(_TRIED) else self.policy.weights.room(name, shape, dtype)
        )

    def restore(self, state: Snapshot) -> None:
        tried = {name.removeprefix(_TRIED): t for name, t in state.tensors.items() if name.startswith(_TRIED)}
        trained = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(_TRIED)}
        self.policy.weights.restore(Snapshot(state.iteration, trained))
        self.tried = Tried.of(tried)
        self.iteration = state.iteration
