"""Simulated services whose true rates, latencies and leaks are known. Times in seconds, latencies in ms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Failing:
    """Requests of which a share fails; ``burst``: in whole seconds of which so many fail together."""

    share: float
    per_second: float = 15.0
    burst: float = 1.0

    def bad(self, limit: float) -> bool:
        return self.share >= 1 - limit - 1e-12

    def failures(self, rng: np.random.Generator, n: NDArray[np.int64], second: int) -> NDArray[np.int64]:
        """How many of ``n`` requests of one second (or minute) fail, for each rollout."""
        if self.burst == 1.0:
            return rng.binomial(n, self.share)
        hit = rng.random(n.shape) < self.share / self.burst
        return np.where(hit, rng.binomial(n, self.burst), 0)


@dataclass(frozen=True)
class Slow:
    """Log-normal latencies with the given 95th percentile; a share ``tail`` takes ``tail_ms`` instead."""

    p95: float
    sigma: float = 0.5
    tail: float = 0.0
    tail_ms: float = 1000.0
    per_second: float = 15.0

    def beyond(self, limit: float) -> float:
        """The share of requests that take longer than ``limit`` ms."""
        z = (np.log(limit) - self._mu) / self.sigma
        return float(self.tail * (self.tail_ms > limit) + (1 - self.tail) * norm.sf(z))

    def bad(self, limit: float) -> bool:
        return self.beyond(limit) >= 0.05 - 1e-12

    @property
    def _mu(self) -> float:
        return float(np.log(self.p95) - norm.ppf(0.95) * self.sigma)

    def quantile(self, u: Array) -> Array:
        """The latencies at these shares of all requests."""
        inner = np.clip(u / (1 - self.tail), 0, 1 - 1e-12)
        return np.where(u < 1 - self.tail, np.exp(self._mu + self.sigma * norm.ppf(inner)), self.tail_ms)

    def draw(self, rng: np.random.Generator, size: tuple[int, ...]) -> Array:
        return self.quantile(rng.random(size))

    def percentile_of(self, rng: np.random.Generator, n: int, size: tuple[int, ...]) -> Array:
        """Nearest-rank p95 of ``n`` requests: drawn at once, as the order statistic of that rank."""
        rank = int(np.ceil(0.95 * n))
        return self.quantile(rng.beta(rank, n - rank + 1, size))


@dataclass(frozen=True)
class Leaking:
    """Memory that grows by a share of its median over a day, with noise. ``alike``: the correlation of
    neighbours."""

    growth: float
    noise: float = 0.02
    alike: float = 0.0
    readings: int = 288
    start_mb: float = 30.0

    def bad(self, limit: float) -> bool:
        return self.growth >= limit

    def draw(self, rng: np.random.Generator, rollouts: int) -> Array:
        line = 1 + self.growth * (np.arange(self.readings) / (self.readings - 1) - 0.5)
        noise = rng.normal(0, self.noise, (rollouts, self.readings))
        if self.alike:
            for index in range(1, self.readings):
                fresh = np.sqrt(1 - self.alike**2) * noise[:, index]
                noise[:, index] = self.alike * noise[:, index - 1] + fresh
        return np.asarray(self.start_mb * line * (1 + noise))
