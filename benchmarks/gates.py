"""How often gates pass a bad build and fail a good one: simulated services whose truth is known.

    python -m benchmarks.gates [--rollouts 10000] [--seed 1]

Ours are judged by the functions that judge real rollouts; the others by models of their documented rules
(:mod:`benchmarks.gate_rivals`). Prints the table of docs/gates.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks import gate_ours, gate_rivals
from benchmarks.gate_services import Failing, Leaking, Slow
from rollout.config import Gate
from rollout.model import Verdict

CONFIDENCE = 0.95
RATE = Gate(metric="load.reconnect_rate", op=">", threshold=0.99, confidence=CONFIDENCE)
LATENCY = Gate(metric="load.connect_ms", op="<", threshold=100, confidence=CONFIDENCE)
SLOWER = Gate(metric="load.connect_ms", op="<", threshold=1.25, compare="baseline", confidence=CONFIDENCE)
FAILS_MORE = Gate(metric="load.success_rate", op="<", threshold=2, compare="baseline", confidence=CONFIDENCE)
DRIFT = Gate(metric="monitor.memory_drift", op="<", threshold=0.1, confidence=CONFIDENCE)
MEMORY_LIMIT_MB = 50.0
RIVALS = ("Argo, limit 0", "Argo, limit 3", "Flagger", "Kayenta")
HEADER = (
    "| service | truth | ours: pass | fail | inconclusive | " + " | ".join(RIVALS) + " |\n"
    "| --- | --- | " + " | ".join("---:" for _ in range(3 + len(RIVALS))) + " |"
)


@dataclass(frozen=True)
class Row:
    """One service. ``ours`` by verdict and ``rivals`` (promoted) are shares of the rollouts.

    ``assumed``: whether it is as the gate's statistics take it to be (independent observations), so that the
    stated error rate holds.
    """

    name: str
    bad: bool
    ours: dict[Verdict, float]
    rivals: dict[str, float] = field(default_factory=dict)
    assumed: bool = True

    @property
    def wrong(self) -> float:
        """The share of rollouts in which our gate said the contrary of the truth."""
        return self.ours[Verdict.FAIL if not self.bad else Verdict.PASS]

    def cells(self) -> str:
        """The row of the table; rivals by how often they promote."""
        ours = (self.ours[verdict] for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE))
        rivals = (percent(self.rivals[name]) if name in self.rivals else "" for name in RIVALS)
        name = self.name if self.assumed else f"{self.name} *"
        return f"| {name} | {'bad' if self.bad else 'good'} | {' | '.join([*map(percent, ours), *rivals])} |"


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


@dataclass
class Bench:
    """One run: how many rollouts a case has, and the randomness of all."""

    rollouts: int
    seed: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self._rate = gate_ours.RateLimits(RATE)
        self._latency = gate_ours.SampleLimits(LATENCY)

    def rate(self, name: str, service: Failing, *, assumed: bool = True) -> Row:
        """Success above 99 %: through the canary steps; the others by the success of each minute."""
        size = (self.rollouts, gate_rivals.MINUTES)
        n = round(service.per_second * 60)
        each = np.full(size, n)
        if service.burst == 1.0:
            failed = service.failures(self.rng, each, 60)
        else:  # bursts are of a second
            seconds = np.full((*size, 60), round(service.per_second))
            failed = service.failures(self.rng, seconds, 1).sum(axis=2)
        base = self.rng.binomial(each, 0.001)
        met = 1 - failed / n > RATE.threshold
        ours = gate_ours.canary(self._rate, service, self.rollouts, self.rng)
        return self._row(name, service.bad(RATE.threshold), ours, met, failed / n, base / n, assumed=assumed)

    def latency(self, name: str, service: Slow) -> Row:
        """p95 below 100 ms: through the canary steps; the others by the p95 of each minute."""
        size = (self.rollouts, gate_rivals.MINUTES)
        n = round(service.per_second * 60)
        points = service.percentile_of(self.rng, n, size)
        base = Slow(80).percentile_of(self.rng, n, size)
        ours = gate_ours.canary(self._latency, service, self.rollouts, self.rng)
        met = points < LATENCY.threshold
        return self._row(name, service.bad(LATENCY.threshold), ours, met, points, base)

    def compared(self, name: str, service: Slow, *, bad: bool, n: int = 800, a_point: int = 80) -> Row:
        """At most 1.25 times the generation before, as a whole and in the p95, by ``n`` samples of each.

        ``a_point``: samples that the others make one point of.
        """
        before = Slow(80)
        ours = gate_ours.compared(
            SLOWER, lambda: service.draw(self.rng, (n,)), lambda: before.draw(self.rng, (n,)), self.rollouts
        )
        size = (self.rollouts, gate_rivals.MINUTES)
        points, base = (one.percentile_of(self.rng, a_point, size) for one in (service, before))
        return self._row(name, bad, ours, points < SLOWER.threshold * 80, points, base)

    def sparse(self, name: str, share: float, before: float, n: int = 3000) -> Row:
        """Failures at most twice those of the generation before."""
        size, each = (self.rollouts, gate_rivals.MINUTES), n // gate_rivals.MINUTES
        points, base = (self.rng.binomial(each, one, size) for one in (share, before))
        ours = gate_ours.tallies(FAILS_MORE, points.sum(axis=1), base.sum(axis=1), n)
        bad = share >= FAILS_MORE.threshold * before
        met = 1 - points / each > RATE.threshold
        return self._row(name, bad, ours, met, points.astype(float), base.astype(float))

    def leak(self, name: str, service: Leaking) -> Row:
        """Memory that grows by less than a tenth in a day; the others look at a fixed limit of 50 MB."""
        readings = service.draw(self.rng, self.rollouts)
        ours = gate_ours.trend(DRIFT, readings, 300.0)
        points = readings[:, -gate_rivals.MINUTES :]
        base = Leaking(0.0).draw(self.rng, self.rollouts)[:, -gate_rivals.MINUTES :]
        bad, assumed = service.bad(DRIFT.threshold), not service.alike
        return self._row(name, bad, ours, points < MEMORY_LIMIT_MB, points, base, assumed=assumed)

    def _row(
        self,
        name: str,
        bad: bool,
        ours: Counter[Verdict],
        met: gate_rivals.Passed,
        points: gate_ours.Array,
        base: gate_ours.Array,
        *,
        assumed: bool = True,
    ) -> Row:
        rivals = {
            RIVALS[0]: gate_rivals.argo(met, 0),
            RIVALS[1]: gate_rivals.argo(met, 3),
            RIVALS[2]: gate_rivals.flagger(met),
            RIVALS[3]: gate_rivals.kayenta(points, base),
        }
        return Row(
            name,
            bad,
            {verdict: ours[verdict] / self.rollouts for verdict in Verdict},
            {rival: float(np.mean(passed)) for rival, passed in rivals.items()},
            assumed,
        )


CASES: tuple[tuple[str, Callable[[Bench, str], Row]], ...] = (
    ("success 98 %", lambda b, name: b.rate(name, Failing(0.02))),
    ("success 98.5 %", lambda b, name: b.rate(name, Failing(0.015))),
    ("success 99 %, just not more", lambda b, name: b.rate(name, Failing(0.01))),
    ("success 99.5 %", lambda b, name: b.rate(name, Failing(0.005))),
    ("success 99.9 %", lambda b, name: b.rate(name, Failing(0.001))),
    ("success 98 %, 12 requests a minute", lambda b, name: b.rate(name, Failing(0.02, 0.2))),
    ("success 99.9 %, 12 requests a minute", lambda b, name: b.rate(name, Failing(0.001, 0.2))),
    ("success 99 %, in bursts", lambda b, name: b.rate(name, Failing(0.01, burst=0.5), assumed=False)),
    ("p95 120 ms", lambda b, name: b.latency(name, Slow(120))),
    ("p95 100 ms, just not less", lambda b, name: b.latency(name, Slow(100))),
    ("p95 90 ms", lambda b, name: b.latency(name, Slow(90))),
    ("p95 80 ms", lambda b, name: b.latency(name, Slow(80))),
    ("6 % take 1 s, the rest 40 ms", lambda b, name: b.latency(name, Slow(40, tail=0.06))),
    ("3 % take 1 s, the rest 40 ms", lambda b, name: b.latency(name, Slow(40, tail=0.03))),
    ("1.5 x baseline", lambda b, name: b.compared(name, Slow(120), bad=True)),
    ("1.25 x baseline, just not less", lambda b, name: b.compared(name, Slow(100), bad=True)),
    ("as the baseline", lambda b, name: b.compared(name, Slow(80), bad=False)),
    ("0.8 x baseline, 8 % at 100 x", lambda b, name: b.compared(
        name, Slow(64, tail=0.08, tail_ms=8000), bad=True)),
    ("7 of 10 at 100 x, 20 samples", lambda b, name: b.compared(
        name, Slow(80, tail=0.7, tail_ms=8000), bad=True, n=20, a_point=1)),
    ("fails 1 % beside 0.1 %", lambda b, name: b.sparse(name, 0.01, 0.001)),
    ("fails 0.2 % beside 0.1 %, just twice", lambda b, name: b.sparse(name, 0.002, 0.001)),
    ("fails 0.1 % beside 0.1 %", lambda b, name: b.sparse(name, 0.001, 0.001)),
    ("leaks 20 % a day", lambda b, name: b.leak(name, Leaking(0.2))),
    ("leaks 10 % a day, just not less", lambda b, name: b.leak(name, Leaking(0.1))),
    ("leaks nothing", lambda b, name: b.leak(name, Leaking(0.0))),
    ("leaks 10 % a day, readings alike", lambda b, name: b.leak(name, Leaking(0.1, alike=0.8))),
)  # fmt: skip


def table(rows: list[Row]) -> str:
    """The table of docs/gates.md."""
    return "\n".join([HEADER, *(row.cells() for row in rows)])


def main() -> int:
    """Print the table, and what it says of the stated error rate; 1 when that does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bench, rows, started = Bench(options.rollouts, options.seed), [], time.monotonic()
    with gate_ours.everywhere():
        for name, case in CASES:
            rows.append(case(bench, name))
            print(f"{time.monotonic() - started:5.0f} s  {rows[-1].cells()}", file=sys.stderr)
    print(table(rows))
    worst = {bad: max(row.wrong for row in rows if row.bad == bad and row.assumed) for bad in (True, False)}
    print(
        f"\n{options.rollouts} rollouts a row, seed {options.seed}. Stated error rate {1 - CONFIDENCE:.1%};"
        f" ours passed a bad build in at most {worst[True]:.1%},"
        f" failed a good one in at most {worst[False]:.1%} (rows with * left out)."
    )
    return int(max(worst.values()) > 1 - CONFIDENCE + 3 * (0.05 * 0.95 / options.rollouts) ** 0.5)


if __name__ == "__main__":
    sys.exit(main())
