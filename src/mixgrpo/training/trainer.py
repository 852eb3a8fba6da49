"""The training loop: prompts, plan, rollout, rewards, advantages, update; then the window slides."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from torch import Tensor, nn

from mixgrpo.data.prompts import Prompt, batch
from mixgrpo.models.base import Conditioning, FlowModel
from mixgrpo.models.text_cache import TextCache
from mixgrpo.objectives import image_credit as credit
from mixgrpo.objectives.advantages import advantages, group_std, told_apart
from mixgrpo.parallel import distributed
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.reward import Reward
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import Plan
from mixgrpo.sampling.rollout import Rollout, rollout

from . import checkpoint
from .scoring import Scored, Scorer, merged, stop_if_too_many_failed
from .speed import speed_up
from .trainable import as_it_is, make_trainable, reference_of
from .update import UpdateStats, accumulate, shares

Metrics = dict[str, Any]


class TrainingStopped(RuntimeError):
    """Training cannot go on, and why."""


class Trainer:
    """A model, a recipe and rewards, and everything that changes while they train."""

    def __init__(
        self,
        recipe: Recipe,
        model: FlowModel,
        rewards: Mapping[str, Reward],
        prompts: Sequence[Prompt],
        adapter: PeftLoraConfig | None = None,
    ) -> None:
        if recipe.rollout.prompts < distributed.world_size():
            raise ValueError(
                f"rollout.prompts = {recipe.rollout.prompts}: must be at least {distributed.world_size()}, the number "
                "of processes, because whole groups go to each"
            )
        self.recipe, self.model, self.rewards, self.prompts = recipe, model, rewards, prompts
        self.iteration = 0
        self.grid = recipe.own_grid() or model.grid(recipe.grid.steps)
        speed_up(model, recipe.speed)
        self.encode = _encoder(model, recipe)
        # Only a KL needs it, and for full training it is a copy.
        self.reference = reference_of(model, recipe) if recipe.update.kl else partial(as_it_is, model)
        self.parameters = make_trainable(model, recipe, adapter)
        self.average = (
            {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
            if recipe.update.ema
            else {}
        )
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=recipe.update.learning_rate,
            betas=recipe.update.betas,
            weight_decay=recipe.update.weight_decay,
            fused=recipe.speed.fused_optimizer,
        )
        self.scorer = Scorer(rewards, recipe.scoring, beside=recipe.speed.overlap_rewards)

    def iterate(self) -> Metrics:
        """One iteration, and what there is to say about it."""
        k, recipe = self.iteration, self.recipe
        clock = _Clock()
        prompts = batch(self.prompts, k, recipe.rollout.prompts, recipe.seed)
        own = distributed.own(len(prompts))
        plan = recipe.plan_at(k, self.grid)
        told = self.encode([prompts[i].text for i in own])

        def finished(rows: slice, latents: Tensor) -> None:
            images = range(len(own) * recipe.rollout.group_size)[rows]
            asked = [prompts[own[n // recipe.rollout.group_size]] for n in images]
            self.scorer.submit(self.model.decode(latents), asked)

        sampled = self.sample(plan, told, own, finished)
        clock.lap("rollout")
        scored = merged(distributed.gather(self.scorer.collect()))
        stop_if_too_many_failed(scored, recipe.scoring.stop_above)
        clock.lap("reward")
        scores = {name: values.view(len(prompts), -1) for name, values in scored.values.items()}
        advantage, groups = self._advantages(scores)
        stats, grad_norms = self.update(sampled, told, advantage, own, groups)
        clock.lap("update")
        self.iteration += 1
        return {
            "iteration": k,
            "window": [*plan.window],
            **_reward_metrics(scores, scored),
            "skipped_groups": len(prompts) - len(groups),
            **_update_metrics(stats),
            "grad_norm": max(grad_norms, default=0.0),
            "learning_rate": self.learning_rate(k),
            "seconds": clock.laps,
        }

    def sample(self, plan: Plan, told: Conditioning, own: range, finished: Callable[[slice, Tensor], None]) -> Rollout:
        """This iteration's images of this process's own prompts, of which `told` tells the model."""
        settings = self.recipe.rollout
        with self.precision():
            return rollout(
                self.model,
                plan,
                told,
                KeyedNoise(self.recipe.seed, self.iteration, self.model.latent_shape),
                group_size=settings.group_size,
                micro_batch=settings.micro_batch,
                shared_noise=settings.shared_noise,
                share_computation=self.recipe.speed.share,
                prompt_ids=own,
                finished=finished,
            )

    def _advantages(self, scores: Mapping[str, Tensor]) -> tuple[Tensor, list[list[int]]]:
        """Per image, and which images of each group teach anything: those scored, where rewards are not all equal."""
        weights = self.recipe.weights
        chosen = {name: scores[name] for name in weights}
        advantage = advantages(chosen, weights, self.recipe.aggregation, self.recipe.update.advantage_clip)
        teaching = advantage.isfinite() & told_apart(chosen)[:, None]
        numbers = torch.arange(advantage.numel()).view_as(advantage)
        groups = [images[taught].tolist() for images, taught in zip(numbers, teaching, strict=True)]
        return advantage.flatten(), [group for group in groups if group]

    def update(
        self, sampled: Rollout, told: Conditioning, advantage: Tensor, own: range, groups: Sequence[Sequence[int]]
    ) -> tuple[UpdateStats, list[float]]:
        """Learn from the images of these groups, all processes' together; what was measured, and gradient norms."""
        settings, size = self.recipe.update, self.recipe.rollout.group_size
        if self.recipe.credit == "picture":
            sampled = credit.to_pictures(sampled, size)
        stats, norms = UpdateStats(), []
        for rate in self.optimizer.param_groups:
            rate["lr"] = self.learning_rate(self.iteration)
        device = sampled.latents.device
        key = f"{self.recipe.seed}/{self.iteration}"
        own_images = range(own.start * size, own.stop * size)
        # Images of a group with equal rewards have advantage 0: they count in the mean, the model need not see them.
        counting = advantage.isfinite().sum().item() / max(1, sum(map(len, groups)))
        for number, share in enumerate(shares(groups, settings.updates, key)):
            images = [n - own_images.start for n in share if n in own_images]
            self.optimizer.zero_grad()
            with self.precision():
                accumulate(
                    self.model,
                    sampled,
                    told,
                    advantage[own_images.start : own_images.stop].to(device),
                    torch.tensor(images, dtype=torch.long, device=device),
                    total_transitions=len(share) * counting * len(sampled.transitions),
                    micro_batch=self.recipe.rollout.micro_batch,
                    settings=settings,
                    reference=self.reference,
                    first=number == 0,
                    stats=stats,
                )
            norms.append(self._apply_gradients())
        return stats, norms

    def _apply_gradients(self) -> float:
        """Sum over processes, clip, step."""
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        distributed.sum_tensors(gradients)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.update.max_grad_norm).item()
        if not math.isfinite(norm):
            raise TrainingStopped(
                f"iteration {self.iteration}: the gradient's norm is {norm}; the weights are still those of the "
                "iteration before. Lower update.learning_rate, or use model.dtype float32."
            )
        self.optimizer.step()
        if self.recipe.update.ema is not None:
            values = [parameter.detach() for parameter in self.parameters.values()]
            torch._foreach_lerp_([*self.average.values()], values, 1 - self.recipe.update.ema)
        return norm

    def learning_rate(self, iteration: int) -> float:
        settings = self.recipe.update
        rise = min(1.0, (iteration + 1) / settings.warm_up) if settings.warm_up else 1.0
        fall = 1 - iteration / self.recipe.iterations if settings.decay == "linear" else 1.0
        return settings.learning_rate * min(rise, fall)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """The same in rollout and update, or their ratio would not start at 1."""
        dtype = getattr(torch, self.recipe.model.dtype)
        device = next(self.model.transformer.parameters()).device.type
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            yield

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the averaged weights in place, where the recipe has them."""
        trained = {name: self.parameters[name].detach().clone() for name in self.average}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(trained)

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self.parameters[name].copy_(tensor)

    def snapshot(self) -> checkpoint.Snapshot:
        return checkpoint.snapshot(self.iteration, self.parameters, self.average, self.optimizer)

    def forget(self, before: Mapping[str, Tensor]) -> None:
        """Back to a fresh trainer with the tensors of an earlier snapshot."""
        self.optimizer.state.clear()
        self.restore(checkpoint.Snapshot(0, dict(before)))

    def restore(self, state: checkpoint.Snapshot) -> None:
        checkpoint.restore(state, self.parameters, self.average, self.optimizer)
        self.iteration = state.iteration


def _encoder(model: FlowModel, recipe: Recipe) -> Callable[[Sequence[str]], Conditioning]:
    settings = recipe.speed
    if settings.text_cache is None:
        return model.encode
    return TextCache(model, Path(settings.text_cache), int(settings.text_cache_gib * 2**30)).encode


def _reward_metrics(scores: Mapping[str, Tensor], scored: Scored) -> Metrics:
    """Per reward: its mean, its std within groups, and what failed."""
    return {
        "rewards": {name: score.nanmean().item() for name, score in scores.items()},
        "spread": {name: group_std(score).nanmean().item() for name, score in scores.items()},
        "failed_scores": scored.failed,
        "retried_scores": scored.retried,
        "score_errors": scored.errors,
    }


def _update_metrics(stats: UpdateStats) -> Metrics:
    """Means per transition, over all processes."""
    everyone = distributed.gather((stats.sums(), stats.first_gap.item(), stats.model_rows))
    names = sorted({"loss", "clipped", *(name for sums, _, _ in everyone for name in sums)} - {"transitions"})
    count = max(1.0, sum(sums.get("transitions", 0.0) for sums, _, _ in everyone))
    return {
        **{name: sum(sums.get(name, 0.0) for sums, _, _ in everyone) / count for name in names},
        "first_gap": max(gap for _, gap, _ in everyone),
        "update_rows": sum(rows for _, _, rows in everyone),
    }


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
