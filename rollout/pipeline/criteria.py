"""What has to be true before a build may leave an environment. Decided before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollout.config import Environment
from rollout.errors import Refused
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.model import Verdict


def require_evidence(
    ledger: Ledger,
    predecessor: Environment,
    statuses: Mapping[str, Mapping[str, Any] | None],
    *,
    now: float,
) -> RolloutRecord:
    """The rollout of the predecessor whose build may go on.

    Raises:
        Refused: no build there, no passing evidence of this very build, not long enough, or the
            environment does not run it. Says which, and the way out.
    """
    name = predecessor.name
    newest = next(iter(ledger.rollouts(name)), None)
    if newest is not None and newest.state.open:
        raise Refused(
            f"{name} has an unfinished rollout (#{newest.number}, {newest.state});"
            f" finish it with: rollout resume {name}"
        )
    current = ledger.current(name)
    if current is None:
        raise Refused(
            f"nothing has been promoted in {name} yet, so there is no evidence; {_how_to_deploy(predecessor)}"
        )
    proof = next(
        (
            record
            for record in ledger.rollouts(name)
            if record.digest == current.digest
            and record.state is State.PROMOTED
            and record.kind != "rollback"
        ),
        None,
    )
    results = [result for _, result in ledger.verdicts(proof.id, "gate")] if proof else []
    if not results:
        raise Refused(
            f"the ledger has no evidence of {current.build} in {name}; {_how_to_deploy(predecessor)}"
        )
    bad = [result for result in results if result.verdict is not Verdict.PASS]
    if bad:
        raise Refused(f"{current.build} did not pass in {name}: {bad[0].reason}")
    names = {result.gate for result in results}
    missing = [gate.name for gate in predecessor.gates if gate.name not in names]
    if missing:
        raise Refused(
            f"{current.build} was never judged by {missing[0]} in {name}; {_how_to_deploy(predecessor)}"
        )
    since = current.ended or current.started
    if now - since < predecessor.soak:
        left = predecessor.soak - (now - since)
        raise Refused(
            f"{current.build} has run in {name} for {_duration(now - since)} of the required"
            f" {_duration(predecessor.soak)}; try again in {_duration(left)}"
        )
    for host, status in statuses.items():
        serving = {entry["name"] for entry in (status or {}).get("generations", []) if entry["weight"] == 100}
        if current.generation not in serving:
            raise Refused(
                f"{name} does not serve {current.build} on {host} right now; look at: rollout status"
            )
    return current


def _how_to_deploy(environment: Environment) -> str:
    verb = "promote" if environment.after else "deploy"
    return f"first run: rollout {verb} {environment.name}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
