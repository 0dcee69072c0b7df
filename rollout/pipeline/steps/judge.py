"""What a build has to show: load on it, watched under the gates, checked, and judged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rollout.checks.infra import SUITE as INFRA
from rollout.checks.runner import CheckResult, check_everywhere
from rollout.checks.smoke import smoke
from rollout.checks.validate import validate
from rollout.errors import EngineError
from rollout.evidence import from_checks
from rollout.gates import END, deciding, evaluate_all
from rollout.model import Verdict
from rollout.pipeline.infra import verify
from rollout.pipeline.judging import NotPassed, verdict_of
from rollout.pipeline.steps.base import Step
from rollout.units import count, duration

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial

SUITES = {"validate": validate, "smoke": smoke}


@dataclass(frozen=True, kw_only=True)
class Load(Step):
    """Load users take up work."""

    kind = "load"

    def run(self, trial: Trial) -> str:
        return trial.judging.start_load()


@dataclass(frozen=True, kw_only=True)
class Watch(Step):
    """``hold`` seconds under the gates that judge while users are there."""

    kind = "watch"

    hold: float

    def run(self, trial: Trial) -> str:
        started = time.monotonic()
        gates = trial.judging.gates("shift", "any")
        if trial.full_at is not None:  # the baseline serves nobody any more, and was judged when it did
            gates = [gate for gate in gates if gate.compare != "baseline"]
        last = [step for step in trial.plan.forward if isinstance(step, Watch)][-1]
        results, evidence = trial.judging.watch(gates, self.hold, last=self == last)
        at = time.time()
        trial.ledger.record_verdicts(trial.record.id, self.name, results, evidence)
        trial.observer.gate_results(results, True)
        if verdict_of(results) is not Verdict.PASS:
            raise NotPassed(results, at)
        watched = duration(time.monotonic() - started)
        return f"{count(len(results), 'gate')} passed after {watched}" if results else f"watched {watched}"


@dataclass(frozen=True, kw_only=True)
class Checks(Step):
    """Suites run on every host; what they find is evidence for the gates.

    ``otherwise``: what is said where a check fails and no gate is behind it; "" where one is.
    """

    kind = "checks"
    records = ("verify",)

    suites: list[str]
    otherwise: str = ""

    def run(self, trial: Trial) -> str:
        parts = []
        bad: list[CheckResult] = []
        for suite in self.suites:
            results = _suite(trial, suite)
            trial.record_checks(suite, results, f"junit-{suite}.xml")
            trial.judging.found += from_checks(suite, results)
            parts.append(f"{suite} {sum(result.ok for result in results)}/{len(results)}")
            bad += [result for result in results if not result.ok]
        for result in bad:
            trial.observer.message(f"{result.suite}, {result.name}: {result.detail}", "warning")
        if bad and self.otherwise:
            raise EngineError(f"{self.otherwise}: {', '.join(parts)}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Judge(Step):
    """All gates say what they have to say."""

    kind = "gate"

    def run(self, trial: Trial) -> str:
        judging = trial.judging
        self._collect_anew(trial)
        waiting = [gate for gate in judging.gates("checks") if gate.about.source == "load"]
        if waiting and judging.loaded:
            judging.watch(waiting, 0.0)  # nobody has waited for these to have enough data yet
        judging.check_load()
        judging.finish_load()
        evidence = [*judging.found, *judging.observe(patient=True)]
        at = time.time()
        results = judging.with_earlier(
            evaluate_all(judging.all_gates, evidence, at, lambda _: END, judging.of_hosts)
        )
        trial.ledger.record_verdicts(trial.record.id, self.name, results, evidence)
        trial.observer.gate_results(results, True)
        if not deciding(results) or verdict_of(results) is not Verdict.PASS:
            raise NotPassed(results, at)
        passed = sum(result.verdict is Verdict.PASS for result in results)
        warned = len(results) - passed
        text = f"{passed} of {count(len(results), 'gate')} passed"
        return text + (f", {warned} only warn" if warned else "")

    def _collect_anew(self, trial: Trial) -> None:
        """After a resume in between there is no evidence of before."""
        if not trial.judging.found:
            for step in trial.plan.forward:
                if isinstance(step, Checks):
                    step.run(trial)
        if trial.environment.load is not None and not trial.judging.loaded:
            # As long as a watch.
            trial.judging.watch(trial.judging.gates("shift", "any"), trial.environment.canary[-1].hold)


def _suite(trial: Trial, suite: str) -> list[CheckResult]:
    if suite == INFRA:
        return verify(trial.config, trial.environment, trial.engine, trial.ledger, trial=trial.record)
    return check_everywhere(SUITES[suite], trial.engine.targets())
