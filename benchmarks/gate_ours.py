"""Our gates over many simulated rollouts, judged by the very functions that judge real ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_services import Array, Failing, Slow
from rollout.config import Gate
from rollout.gates import END, ONCE, Look, Watch, evaluate
from rollout.gates.condition import errors
from rollout.gates.samples import ranks
from rollout.model import Evidence, Verdict

Numbers = NDArray[np.int64]
WEIGHTS = (0.1, 0.5, 1.0)
HOLD, LIMIT = 30, 600
"""Canary steps and their times, in seconds: those of the shipped rollout.yaml."""


class Limits(Protocol):
    """For each number of observations: with how many failures a gate still passes, from how many it fails.

    A failure is a request that failed, or took too long.
    """

    gate: Gate

    def of(self, look: Look, most: int) -> tuple[Numbers, Numbers]:
        """Both for 0 to ``most`` observations, at this look."""


class RateLimits:
    """Those of a rate, found by asking the gate: both grow by one at most with each observation."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._known: dict[Look, tuple[list[int], list[int]]] = {}

    def of(self, look: Look, most: int) -> tuple[Numbers, Numbers]:
        passes, fails = self._known.setdefault(look, ([-1], [1]))
        for n in range(len(passes), most + 1):
            allowed, needed = passes[-1], fails[-1]
            passes.append(allowed + self._is(Verdict.PASS, n, allowed + 1, look))
            fails.append(needed + (not self._is(Verdict.FAIL, n, needed, look)))
        return np.array(passes), np.array(fails)

    def _is(self, verdict: Verdict, n: int, failed: int, look: Look) -> bool:
        if failed > n:
            return False
        evidence = Evidence("e", self.gate.metric, "rate", "simulated", 0.0, 1.0, n, successes=n - failed)
        return evaluate(self.gate, [evidence], None, look).verdict is verdict


class SampleLimits:
    """Those of a percentile, by the ranks that the gate compares with its threshold.

    A test holds them against the gate's own verdicts.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._known: dict[Look, tuple[Numbers, Numbers]] = {}

    def of(self, look: Look, most: int) -> tuple[Numbers, Numbers]:
        if look not in self._known:
            passing, failing = errors(self.gate, look)
            passes, fails = [-1], [1]
            for n in range(1, most + 1):
                first, last = ranks(n, self.gate.percentile / 100, failing, passing)
                few = n < self.gate.min_samples
                passes.append(-1 if few else n - last)
                fails.append(n + 1 if few or not first else n - first + 1)
            self._known[look] = np.array(passes), np.array(fails)
        return self._known[look]


def canary(
    limits: Limits, service: Failing | Slow, rollouts: int, rng: np.random.Generator
) -> Counter[Verdict]:
    """Take rollouts through all steps second by second, as the runner does; what each ends with."""
    if isinstance(service, Slow):
        service = Failing(service.beyond(limits.gate.threshold), service.per_second)
    most = int(sum(service.per_second * weight * LIMIT for weight in WEIGHTS)) + 2
    looks = _looks(limits.gate)
    tables = {look: limits.of(look, most) for step in looks for look in step} | {END: limits.of(END, most)}
    unique = list(tables)
    passes = np.stack([tables[look][0] for look in unique])
    fails = np.stack([tables[look][1] for look in unique])
    which = np.array([[unique.index(look) for look in step] for step in looks])

    step, began = np.zeros(rollouts, np.int64), np.zeros(rollouts, np.int64)
    traffic, failed = np.zeros(rollouts), np.zeros(rollouts, np.int64)
    ended: Counter[Verdict] = Counter()
    second = 0
    while len(step):
        second += 1
        seen = np.floor(traffic).astype(np.int64)
        traffic += service.per_second * np.array(WEIGHTS)[step]
        n = np.floor(traffic + 1e-9).astype(np.int64)
        failed += service.failures(rng, n - seen, second)
        elapsed = second - began
        table = which[step, elapsed]
        fail = failed >= fails[table, n]
        good = ~fail & (failed <= passes[table, n]) & (elapsed >= HOLD)
        over = ~fail & ~good & (elapsed >= LIMIT)
        last = good & (step == len(WEIGHTS) - 1)
        final = unique.index(END)
        promoted = last & (failed <= passes[final, n])
        refused = last & (failed >= fails[final, n])
        ended[Verdict.FAIL] += int((fail | refused).sum())
        ended[Verdict.PASS] += int(promoted.sum())
        ended[Verdict.INCONCLUSIVE] += int((over | (last & ~promoted & ~refused)).sum())
        step, began = step + (good & ~last), np.where(good & ~last, second, began)
        stay = ~(fail | over | last)
        step, began, traffic, failed = step[stay], began[stay], traffic[stay], failed[stay]
    return ended


def _looks(gate: Gate) -> list[list[Look]]:
    """By step and elapsed second, what the gate may use up of its error rate then."""
    found = []
    for index in range(len(WEIGHTS)):
        last = index == len(WEIGHTS) - 1
        watch = Watch(HOLD, LIMIT, steps=len(WEIGHTS) + 1, last=last)
        step = []
        for elapsed in range(LIMIT + 1):
            watch.tick(elapsed)
            step.append(watch.look(gate))
        found.append(step)
    return found


def once(gate: Gate, rollouts: Iterable[Sequence[Evidence]]) -> Counter[Verdict]:
    """Judge the evidence of each rollout once, on every processor that :func:`everywhere` gives."""
    return Counter(spread(_verdict, ((gate, evidence) for evidence in rollouts)))


spread: Callable[..., Iterable[Verdict]] = map
"""How judgements are spread over processors. Here, and in whoever has threads: not at all."""


@contextmanager
def everywhere() -> Iterator[None]:
    """Use every processor. The processes are forked from a small one, which has no threads to be stuck in."""
    global spread
    with get_context("forkserver").Pool() as pool:
        spread = partial(pool.imap_unordered, chunksize=50)
        try:
            yield
        finally:
            spread = map


def _verdict(work: tuple[Gate, Sequence[Evidence]]) -> Verdict:
    return evaluate(*work, None, ONCE).verdict


def compared(
    gate: Gate, ours: Callable[[], Array], theirs: Callable[[], Array], rollouts: int
) -> Counter[Verdict]:
    """Samples of both generations at the same time, judged once."""

    def evidence() -> Iterable[Sequence[Evidence]]:
        for _ in range(rollouts):
            yield [
                Evidence(role, gate.metric, "samples", "simulated", 0.0, 600.0, len(values),
                         samples=tuple(values.tolist()), labels={"role": role})
                for role, values in (("canary", ours()), ("baseline", theirs()))
            ]  # fmt: skip

    return once(gate, evidence())


def tallies(gate: Gate, ours: NDArray[np.int64], theirs: NDArray[np.int64], n: int) -> Counter[Verdict]:
    """Failures of ``n`` requests of each generation, judged once."""
    found: Counter[Verdict] = Counter()
    for (a, b), times in Counter(zip(ours.tolist(), theirs.tolist(), strict=True)).items():
        evidence = [
            Evidence(role, gate.metric, "rate", "simulated", 0.0, 600.0, n, successes=n - failed,
                     labels={"role": role})
            for role, failed in (("canary", a), ("baseline", b))
        ]  # fmt: skip
        found[evaluate(gate, evidence).verdict] += times
    return found


def trend(gate: Gate, readings: Array, every: float) -> Counter[Verdict]:
    """One series a rollout, judged once."""
    times = tuple(every * index for index in range(readings.shape[1]))
    return once(
        gate,
        (
            [Evidence("e", gate.metric, "series", "simulated", 0.0, times[-1], len(times),
                      samples=tuple(row.tolist()), times=times)]
            for row in readings
        ),
    )  # fmt: skip
