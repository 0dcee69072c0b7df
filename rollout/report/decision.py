"""Go or no-go: one pure function of what was judged.

*Go* needs all of it: the rollout promoted and still in charge, every deciding gate passed, every
criterion for leaving the environment passed, the soak over. Everything else is *no-go*, with every
reason named; where only time or evidence is missing, the verdict is *not yet*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rollout.model import Verdict
from rollout.units import duration

Recommendation = Literal["go", "not-yet", "no-go"]
About = Literal["rollout", "gate", "test", "criterion", "soak"]

FINAL = "gate"
"""The step that judges every gate, at the end of the shift."""
SOAK = "soak"
"""The step of what a soak is judged by after the promotion."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict: of a gate at a step of the rollout, or of a criterion.

    ``text`` is its one line with the figures; ``deciding`` is false for what only warns; ``failing`` are the
    tests behind a share of tests that passed; ``evidence`` the ids of what was judged.
    """

    name: str
    verdict: Verdict
    text: str
    step: str = ""
    deciding: bool = True
    failing: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that decides. ``state`` is a :class:`rollout.ledger.State`; durations in seconds.

    ``gates`` has the last verdict of each gate at each step, ``criteria`` the last one of each;
    ``wanted_criteria`` are names that must be among these, ``wanted_gates`` among those of step ``gate``.
    ``soaked`` of ``soak`` seconds have passed since the promotion. ``taken_back`` says how a later rollout
    took this build back, "" when none did.
    """

    state: str
    cause: str
    gates: Sequence[Judged]
    wanted_gates: Sequence[str]
    criteria: Sequence[Judged]
    wanted_criteria: Sequence[str]
    soak: float
    soaked: float
    taken_back: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why not. ``waiting``: time or more evidence may still remove it."""

    about: About
    text: str
    waiting: bool = False
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """``headline`` is one line: ``go``, ``no-go (yet): ...`` or ``no-go: ...``."""

    verdict: Recommendation
    headline: str
    reasons: tuple[Reason, ...]


_STATES = {
    "running": ("the rollout is unfinished", True),
    "rolling-back": ("the rollback is unfinished", False),
    "rolled-back": ("rolled back", False),
    "rollback-failed": ("the rollback failed", False),
    "rehearsed": ("a rehearsal, taken back on purpose", False),
    "applied": ("settings alone, of a build that was there before", False),
}


def decide(case: Case) -> Decision:
    """Say go, or every reason against it, the most final ones first."""
    reasons = [*_state(case), *_gates(case), *_criteria(case), *_soak(case)]
    if not reasons:
        return Decision("go", "go", ())
    final = [reason for reason in reasons if not reason.waiting]
    if final:
        return Decision("no-go", _headline("no-go", case, final), tuple(sorted(reasons, key=_waiting)))
    return Decision("not-yet", _headline("no-go (yet)", case, reasons), tuple(reasons))


def _waiting(reason: Reason) -> bool:
    return reason.waiting


def _headline(verdict: str, case: Case, reasons: Sequence[Reason]) -> str:
    named = _STATES.get(case.state)
    if named:
        return f"{verdict}: {named[0]}"
    first = next((reason for reason in reasons if reason.about == "soak"), reasons[0])
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return f"{verdict}: {first.text}{more}"


def _state(case: Case) -> list[Reason]:
    found = []
    if case.state != "promoted":
        text, waiting = _STATES.get(case.state, (f"the rollout is {case.state}", False))
        # What gates said is named with them below.
        told = any(judged.text in case.cause for judged in case.gates if judged.verdict is not Verdict.PASS)
        cause = f": {case.cause}" if case.cause and not told else ""
        found.append(Reason("rollout", text + cause, waiting))
    if case.taken_back:
        found.append(Reason("rollout", case.taken_back))
    return found


def _gates(case: Case) -> list[Reason]:
    running = case.state == "running"
    found: list[Reason] = []
    # A gate that did not pass at several steps is named once, as it was seen last.
    bad = {
        judged.name: judged for judged in case.gates if judged.deciding and judged.verdict is not Verdict.PASS
    }
    for judged in bad.values():
        where = f" (at {judged.step})" if judged.step else ""
        waiting = judged.verdict is Verdict.INCONCLUSIVE and (running or judged.step == SOAK)
        text = f"gate {judged.verdict}: {judged.text}{where}"
        found.append(Reason("gate", text, waiting, judged.evidence))
        found += [Reason("test", f"failed test: {name}", waiting) for name in judged.failing]
    judged_last = {judged.name for judged in case.gates if judged.step == FINAL}
    found += [
        Reason("gate", f"gate {name}: never judged", running)
        for name in case.wanted_gates
        if name not in judged_last
    ]
    if not judged_last and not found:
        found.append(Reason("gate", "no gate has judged it", running))
    return list(dict.fromkeys(found))


def _criteria(case: Case) -> list[Reason]:
    found: list[Reason] = []
    for judged in case.criteria:
        if judged.verdict is Verdict.PASS or not judged.deciding:
            continue
        waiting = judged.verdict is Verdict.INCONCLUSIVE
        text = f"soak gate {judged.verdict}: {judged.text}"
        found.append(Reason("criterion", text, waiting, judged.evidence))
        found += [Reason("test", f"failed test: {name}", waiting) for name in judged.failing]
    known = {judged.name for judged in case.criteria}
    found += [
        Reason("criterion", f"soak gate {name}: not judged yet", True)
        for name in case.wanted_criteria
        if name not in known
    ]
    return found


def _soak(case: Case) -> list[Reason]:
    if case.soaked >= case.soak:
        return []
    return [Reason("soak", f"soak has {duration(case.soaked)} of {duration(case.soak)}", True)]
