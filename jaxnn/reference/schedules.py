"""NumPy twins of the schedules: eta(t) for the steps t = 0, 1, ..., in plain floats.

In the first `warmup` steps eta = value (t + 1) / warmup; after them the decay counts s = t - warmup.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class constant:
    """eta = value."""

    value: float
    warmup: int = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _rising(self, step)
        return self.value


@dataclass(frozen=True)
class step_decay:
    """eta = value factor^(whole periods of `every` steps in s)."""

    value: float
    every: int
    factor: float = 0.1
    warmup: int = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _rising(self, step)
        return self.value * self.factor ** ((step - self.warmup) // self.every)


@dataclass(frozen=True)
class exponential:
    """eta = value factor^(s / every)."""

    value: float
    every: int
    factor: float = 0.1
    warmup: int = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _rising(self, step)
        return self.value * self.factor ** ((step - self.warmup) / self.every)


@dataclass(frozen=True)
class cosine:
    """eta falls from value to value final along half a cosine of `steps` steps, and stays there."""

    value: float
    steps: int
    final: float = 0.0
    warmup: int = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _rising(self, step)
        s = step - self.warmup
        lowest = self.value * self.final
        if s >= self.steps:
            return lowest
        return lowest + (self.value - lowest) * math.cos(math.pi / 2 * s / self.steps) ** 2


@dataclass(frozen=True)
class inverse_time:
    """eta = value / (1 + s / every)."""

    value: float
    every: int
    warmup: int = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return _rising(self, step)
        return self.value * self.every / (self.every + step - self.warmup)


def _rising(schedule: constant | step_decay | exponential | cosine | inverse_time, step: int) -> float:
    return schedule.value * (step + 1) / schedule.warmup
