"""Several objectives of one rollout at once: their terms side by side, each loss with its objective's weight."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.rollout import Rollout

from .objective import Loss, Objective, Selection, Term, Velocities


@dataclass(frozen=True)
class Together:
    parts: Sequence[tuple[Objective, float]]

    @property
    def needs_window(self) -> bool:
        return any(part.needs_window for part, _ in self.parts)

    @property
    def uses_old_policy(self) -> bool:
        return any(part.uses_old_policy for part, _ in self.parts)

    @property
    def uses_average(self) -> bool:
        return any(part.uses_average for part, _ in self.parts)

    @property
    def uses_reference(self) -> bool:
        return any(part.uses_reference for part, _ in self.parts)

    def terms(self, rollout: Rollout, advantages: Tensor, noise: KeyedNoise) -> Sequence[Term]:
        return [
            weighted(term, weight) for part, weight in self.parts for term in part.terms(rollout, advantages, noise)
        ]


def weighted(term: Term, weight: float) -> Term:
    def loss(selection: Selection, velocities: Velocities) -> Loss:
        own = term.loss(selection, velocities)
        return replace(own, value=weight * own.value)

    return replace(term, loss=loss)
