"""How much each stochastic step counts in the loss, by its coefficients alone.

flash     std / |d mean / d v|     Flash-GRPO (2605.15980): the inverse of how fast a log-probability changes with v
temporal  std                      TempFlow-GRPO (2508.04324)
guard     1 / |d mean / d v|       GRPO-Guard, after its ratio: gradients of v are then alike at all steps
"""

from collections.abc import Sequence
from typing import Literal, assert_never

from .steppers.move import Move

StepWeight = Literal["equal", "flash", "temporal", "guard"]


def raw_weight(kind: StepWeight, move: Move) -> float:
    match kind:
        case "equal":
            return 1.0
        case "flash":
            return move.std / abs(move.velocity_coef)
        case "temporal":
            return move.std
        case "guard":
            return 1 / abs(move.velocity_coef)
    assert_never(kind)


def step_weights(kind: StepWeight, moves: Sequence[Move], pool: Sequence[Move]) -> list[float]:
    """Relative to the mean over the steps of the pool."""
    mean = sum(raw_weight(kind, move) for move in pool) / len(pool) if pool else 1.0
    return [raw_weight(kind, move) / mean for move in moves]
