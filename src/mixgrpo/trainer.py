"""The training loop: prompts, plan, rollout, rewards, advantages, update; then the window slides."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from torch import Tensor, nn

from . import checkpoint, distributed
from .advantages import advantages
from .config import Recipe
from .data import Prompt, batch
from .models import Conditioning, FlowModel
from .noise import KeyedNoise
from .plan import Plan
from .rewards.registry import Reward
from .rollout import Rollout, rollout
from .scoring import Scorer
from .tuning import as_it_is, make_trainable, reference_of
from .update import UpdateStats, accumulate, shares

Metrics = dict[str, Any]

_EQUAL = 1e-6  # rewards closer than this differ by rounding, which dividing by their std would blow up


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
        self.recipe, self.model, self.prompts = recipe, model, prompts
        self.iteration = 0
        self.grid = recipe.own_grid() or model.grid(recipe.grid.steps)
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
        )
        self.scorer = Scorer(rewards)

    def iterate(self) -> Metrics:
        """One iteration, and what there is to say about it."""
        k, recipe = self.iteration, self.recipe
        clock = _Clock()
        prompts = batch(self.prompts, k, recipe.rollout.prompts, recipe.seed)
        own = distributed.own(len(prompts))
        plan = recipe.plan_at(k, self.grid)
        told = self.model.encode([prompts[i].text for i in own])
        sampled = self._sample(plan, told, [prompts[i] for i in own], own)
        clock.lap("rollout")
        scores = {name: score.view(len(own), -1) for name, score in self.scorer.collect().items()}
        clock.lap("reward")
        advantage, taught = self._advantages(scores)
        groups = [group for part in distributed.gather([own[i] for i in taught]) for group in part]
        stats, grad_norms = self._update(sampled, told, advantage, own, groups)
        clock.lap("update")
        self.iteration += 1
        return {
            "iteration": k,
            "window": [*plan.window],
            **self._reward_metrics(scores, len(prompts), len(groups)),
            **_update_metrics(stats),
            "grad_norm": max(grad_norms, default=0.0),
            "learning_rate": self.learning_rate(k),
            "seconds": clock.laps,
        }

    def _sample(self, plan: Plan, told: Conditioning, prompts: Sequence[Prompt], own: range) -> Rollout:
        settings = self.recipe.rollout

        def finished(rows: slice, latents: Tensor) -> None:
            images = range(len(prompts) * settings.group_size)[rows]
            self.scorer.submit(self.model.decode(latents), [prompts[n // settings.group_size] for n in images])

        with self.precision():
            return rollout(
                self.model,
                plan,
                told,
                KeyedNoise(self.recipe.seed, self.iteration, self.model.latent_shape),
                group_size=settings.group_size,
                micro_batch=settings.micro_batch,
                shared_noise=settings.shared_noise,
                prompt_ids=own,
                finished=finished,
            )

    def _advantages(self, scores: Mapping[str, Tensor]) -> tuple[Tensor, list[int]]:
        """Per image, and which groups teach anything: those with finite rewards that are not all equal."""
        weights = {name: weight for name, weight in self.recipe.rewards.items() if weight > 0}
        chosen = {name: scores[name] for name in weights}
        advantage = advantages(chosen, weights, self.recipe.aggregation, self.recipe.update.advantage_clip)
        spread = torch.stack([score.max(1).values - score.min(1).values for score in chosen.values()])
        differing = (spread > _EQUAL).any(0)
        finite = advantage.isfinite().all(1)
        return advantage.flatten(), (differing & finite).nonzero().flatten().tolist()

    def _update(
        self, sampled: Rollout, told: Conditioning, advantage: Tensor, own: range, groups: Sequence[int]
    ) -> tuple[UpdateStats, list[float]]:
        settings, size = self.recipe.update, self.recipe.rollout.group_size
        stats, norms = UpdateStats(), []
        for rate in self.optimizer.param_groups:
            rate["lr"] = self.learning_rate(self.iteration)
        device = sampled.latents.device
        key = f"{self.recipe.seed}/{self.iteration}"
        for number, share in enumerate(shares(groups, size, settings.updates, key)):
            first = own.start * size
            images = [n - first for n in share if n // size in own]
            self.optimizer.zero_grad()
            with self.precision():
                accumulate(
                    self.model,
                    sampled,
                    told,
                    advantage.to(device),
                    torch.tensor(images, dtype=torch.long, device=device),
                    total_transitions=len(share) * len(sampled.transitions),
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

    def _reward_metrics(self, scores: Mapping[str, Tensor], prompts: int, taught: int) -> Metrics:
        """Means over all processes."""
        everyone = distributed.gather(dict(scores))
        whole = {name: torch.cat([part[name] for part in everyone]) for name in scores}
        return {
            "rewards": {name: score.nanmean().item() for name, score in whole.items()},
            "spread": {name: score.std(1).nanmean().item() for name, score in whole.items()},
            "failed_scores": int(sum(score.isnan().sum().item() for score in whole.values())),
            "skipped_groups": prompts - taught,
        }

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
