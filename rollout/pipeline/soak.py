"""The soak of a build that was promoted: hours later, too, it is taken back when a soak gate fails."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rollout.config import Config, Environment
from rollout.errors import EngineError, GateFailed, Refused
from rollout.ledger import Ledger, RolloutRecord
from rollout.model import GateResult, Verdict
from rollout.observer import Observer
from rollout.pipeline.commands import rollback
from rollout.pipeline.obstacles import refuse
from rollout.pipeline.promotion import judged
from rollout.pipeline.readiness import Readiness
from rollout.units import duration

STEP = "soak"
"""What the ledger calls the verdicts on a soak."""


@dataclass(frozen=True, slots=True)
class Soak:
    """How the soak of a build stands: seconds that were observed of those that are required."""

    record: RolloutRecord
    observed: float
    required: float
    results: tuple[GateResult, ...]

    @property
    def failed(self) -> list[GateResult]:
        """The soak gates that the evidence shows not to be met."""
        return [result for result in self.results if result.verdict is Verdict.FAIL]

    @property
    def done(self) -> bool:
        """Whether it was watched for long enough, and everything passed."""
        passed = all(result.verdict is Verdict.PASS for result in self.results)
        return bool(self.results) and passed and self.observed >= self.required


def follow_soak(config: Config, env: str, *, observer: Observer, once: bool = False) -> Soak:
    """Judge the soak gates of an environment while its build soaks, and take it back when one fails.

    Evidence that is too little, or a monitor that cannot be asked, takes nothing back: that only keeps
    the build from going on. Ends when the soak is done; with ``once``, after one look.

    Raises:
        Refused: nothing soaks, or there is nothing to judge it by.
        GateFailed: a soak gate failed; the environment is back on its previous build.
        EngineError: ``once``, and a host cannot be asked.
        Locked and everything else that a rollback raises.
    """
    environment = config.environment(env)
    if environment.monitor is None or not environment.soak_gates:
        raise Refused(
            f"{env} has no monitor or no soak gates to judge its builds by; add monitor: and soak_gates:"
        )
    deciding = {gate.name for gate in environment.soak_gates if gate.severity == "critical"}
    said = ""
    while True:
        try:
            with Ledger(config.ledger_url) as ledger:
                soak, ready = _look(config, environment, ledger)
                failed = [result for result in soak.failed if result.gate in deciding]
                if (failed or soak.done) and not _recorded(ledger, soak.record):
                    ledger.record_verdicts(soak.record.id, STEP, ready.results, ready.evidence)
        except EngineError as error:
            if once:
                raise
            observer.message(f"cannot look: {error.message}", "warning")
            time.sleep(environment.monitor.every)
            continue
        if failed:
            _take_back(config, env, soak.record, failed[0].reason, observer)
        if soak.done or once:
            return soak
        waiting = next((r.reason for r in soak.results if r.verdict is not Verdict.PASS), "")
        text = f"observed {duration(soak.observed)} of {duration(soak.required)}"
        if soak.observed < soak.required:
            text += f", {duration(soak.required - soak.observed)} left"
        text += f"; {waiting}" if waiting else "; all soak gates pass"
        if text != said:
            said = text
            observer.message(text)
        time.sleep(environment.monitor.every)


def _look(config: Config, environment: Environment, ledger: Ledger) -> tuple[Soak, Readiness]:
    current = ledger.current(environment.name)
    if current is None:
        raise Refused(f"nothing has been promoted in {environment.name} yet")
    ready, _ = judged(config, environment, ledger)
    if ready.record is None:
        refuse(ready.obstacles)
    return Soak(current, ready.observed, environment.soak, ready.results), ready


def _recorded(ledger: Ledger, record: RolloutRecord) -> bool:
    return bool(ledger.verdicts(record.id, STEP))


def _take_back(config: Config, env: str, record: RolloutRecord, reason: str, observer: Observer) -> None:
    if record.previous_build is None:
        raise GateFailed(
            f"{record.build} fails in {env}, and there is no earlier build to go back to: {reason}"
        )
    observer.message(f"{record.build} fails its soak: {reason}", "error")
    back = rollback(config, env, observer=observer, reason=reason, of=record.id)
    raise GateFailed(f"{env} is back on {back.build}; {reason}")
