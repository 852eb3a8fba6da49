"""The noise schedule: the grid of noise levels of a trajectory, from its start down to sigma = 0."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SigmaGrid:
    """T + 1 decreasing noise levels. Step i goes from `sigmas[i]` to `sigmas[i + 1]`; the last level is 0.

    `shift` is the time shift that the levels went through. New levels between them (a compressed suffix) are evenly
    spaced before that shift.
    """

    sigmas: tuple[float, ...]
    shift: float

    def __post_init__(self) -> None:
        decreasing = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False))
        if len(self.sigmas) < 2 or not decreasing or self.sigmas[-1] != 0 or self.sigmas[0] > 1:
            raise ValueError(
                f"sigmas must decrease from at most 1 to exactly 0 in at least one step, got {self.sigmas}"
            )
        if self.shift <= 0:
            raise ValueError(f"shift = {self.shift}: must be above 0")

    @property
    def num_steps(self) -> int:
        return len(self.sigmas) - 1

    def resampled(self, start: int, num_steps: int) -> tuple[float, ...]:
        """The levels from `sigmas[start]` to 0 in `num_steps` steps instead of `T - start`.

        Unshifted time is interpolated on the grid at evenly spaced fractional step indices. On a shifted linspace this
        is shift(linspace(t_start, 0)), the published rule; it is defined for any other grid too.
        """
        remaining = self.num_steps - start
        if num_steps == remaining:
            return self.sigmas[start:]
        times = [unshift_time(sigma, self.shift) for sigma in self.sigmas]
        levels = [self.sigmas[start]]
        for k in range(1, num_steps):
            index, fraction = divmod(k * remaining, num_steps)
            before, after = times[start + index], times[start + index + 1]
            levels.append(shift_time(before + (after - before) * fraction / num_steps, self.shift))
        return (*levels, 0.0)


def shifted_linspace(num_steps: int, shift: float) -> SigmaGrid:
    """linspace(1, 0, T + 1) after the time shift. FLUX recipes use shift 3."""
    return SigmaGrid(tuple(shift_time(1 - i / num_steps, shift) for i in range(num_steps + 1)), shift)


def shift_time(t: float, shift: float) -> float:
    """sigma = s t / (1 + (s - 1) t): for s > 1, more of the steps are at high noise."""
    return shift * t / (1 + (shift - 1) * t)


def unshift_time(sigma: float, shift: float) -> float:
    """The inverse of `shift_time`."""
    return sigma / (shift - (shift - 1) * sigma)
