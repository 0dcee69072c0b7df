"""Ratios, counts and gauges: what is exact is compared as it is."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.gates.condition import Finding, GateLike, meets, too_few, total, upwards, where
from rollout.model import Evidence, Verdict
from rollout.units import count, quantity, share


def judge_ratio(gate: GateLike, pieces: Sequence[Evidence]) -> Finding:
    """A census: all there is has been counted, so the share is exact."""
    n, successes = total(pieces), sum(piece.successes or 0 for piece in pieces)
    if few := too_few(gate, n):
        return few
    return _compared(gate, successes / n, n, f"{successes} of {n} ({share(successes / n)})")


def judge_count(gate: GateLike, pieces: Sequence[Evidence]) -> Finding:
    """A tally over all pieces. It only grows: what is too much already fails, however little was seen.

    Nothing observed is nothing known, however good a zero looks.
    """
    n, value = total(pieces), sum(piece.value or 0.0 for piece in pieces)
    text = f"{quantity(value, gate.unit)} in {count(n, 'observation')}"
    few = too_few(gate, n)
    if few and (upwards(gate) or value == 0 or meets(gate, value) or value < gate.threshold):
        return few
    return _compared(gate, value, n, text)


def judge_gauge(gate: GateLike, pieces: Sequence[Evidence]) -> Finding:
    """One reading a piece; the worst of them counts."""
    n = total(pieces)
    if few := too_few(gate, n):
        return few
    seen = [piece for piece in pieces if piece.n]
    worst = (min if upwards(gate) else max)(seen, key=lambda piece: piece.value or 0.0)
    if gate.op == "==":
        worst = next((piece for piece in seen if not meets(gate, piece.value or 0.0)), worst)
    text = f"{quantity(worst.value, gate.unit)} in {count(n, 'observation')}"
    return _compared(gate, worst.value or 0.0, n, text + (f" ({where(worst)})" if len(seen) > 1 else ""))


def _compared(gate: GateLike, value: float, n: int, text: str) -> Finding:
    return Finding(Verdict.PASS if meets(gate, value) else Verdict.FAIL, text, n, value)
