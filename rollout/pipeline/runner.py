"""Carries out a plan: every step is journaled before it acts, and every step may be done again.

Killed at any point, the journal says what had begun and what had ended; going on repeats the
step that had not ended. Anything but a passing verdict carries out the plan's backward steps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.build import BuildStore
from rollout.checks.load import LoadRun
from rollout.checks.runner import CheckResult
from rollout.checks.smoke import smoke
from rollout.checks.validate import validate
from rollout.config import Config, Environment, Gate
from rollout.engine import Engine, ShiftResult
from rollout.errors import (
    EngineError,
    GateFailed,
    GateInconclusive,
    Interrupted,
    RollbackFailed,
    RolloutError,
)
from rollout.evidence import from_checks, from_generation, from_load
from rollout.gates import evaluate_all
from rollout.ledger import Lease, Ledger, RolloutRecord, State
from rollout.model import Evidence, GateResult, Verdict, worst
from rollout.observer import Observer
from rollout.pipeline.plan import Kind, Plan, Step

LOAD_READY_SECONDS = 90.0
POLL = 1.0
SUITES = {"validate": validate, "smoke": smoke}


_CAUSES: dict[str, type[RolloutError]] = {
    kind.__name__: kind for kind in (GateFailed, GateInconclusive, EngineError, Interrupted)
}
"""What a rollback may be the answer to; a resumed one ends with the exit code of its cause."""


class NotPassed(Exception):
    """The verdict is not a pass. Carries what the gates said."""

    def __init__(self, results: Sequence[GateResult]) -> None:
        self.verdict = worst(result.verdict for result in results)
        self.reasons = [result.reason for result in results if result.verdict is not Verdict.PASS]
        super().__init__("; ".join(self.reasons) or "no gate gave a verdict")


class Runner:
    """Carries out one rollout on one environment."""

    def __init__(
        self,
        config: Config,
        environment: Environment,
        engine: Engine,
        ledger: Ledger,
        lease: Lease,
        observer: Observer,
        record: RolloutRecord,
    ) -> None:
        self._config = config
        self._environment = environment
        self._engine = engine
        self._ledger = ledger
        self._lease = lease
        self._observer = observer
        self._record = record
        self._plan = Plan.from_dict(record.plan)
        self._load: LoadRun | None = None
        self._load_finished = False
        self._verdict_at = record.started
        self._shifted_at: float | None = None
        self._evidence: list[Evidence] = []
        self._journal = ledger.journal(record.id)
        self._runs = config.state / "runs" / environment.name / str(record.number)

    def run(self) -> RolloutRecord:
        """Go forward, or go on from where the journal ends; go back when a verdict is not a pass.

        Returns the record of a promoted rollout.

        Raises:
            GateFailed: rolled back because a gate failed or was in error about the build.
            GateInconclusive: rolled back because the evidence was not enough to pass.
            EngineError: rolled back because a host failed; or stopped because the lease was lost.
            RollbackFailed: the environment could not be returned to the previous build.
            Interrupted: rolled back because the operator said so.
        """
        try:
            if self._record.state is State.RUNNING:
                return self._forward()
            kind = _CAUSES.get(str(self._record.figures.get("cause")), GateFailed)
            return self._back(kind(self._record.reason), verdict_at=None)
        finally:
            if self._load is not None:
                self._load.stop()

    # --- forward ---------------------------------------------------------------------------

    def _forward(self) -> RolloutRecord:
        done = {entry.index for entry in self._journal if entry.phase == "end"}
        began = [entry for entry in self._journal if entry.phase == "begin"]
        self._shifted_at = next((entry.at for entry in began if entry.step.startswith("shift-")), None)
        try:
            for step in self._plan.forward:
                if step.index in done:
                    continue
                self._lease.check()
                self._do(step, len(self._plan.forward))
        except NotPassed as verdict:
            reason = str(verdict)
            kind = GateFailed if verdict.verdict is Verdict.FAIL else GateInconclusive
            return self._back(kind(reason), verdict_at=time.time())
        except KeyboardInterrupt:
            return self._back(Interrupted("stopped by the operator"), verdict_at=time.time())
        except RolloutError as error:
            self._lease.check()
            return self._back(error, verdict_at=time.time())
        record = self._ledger.add_figures(
            self._record.id, time_to_promote_s=round(time.time() - self._record.started, 3)
        )
        return self._ledger.transition(record.id, State.PROMOTED)

    def _do(self, step: Step, total: int) -> None:
        started = time.monotonic()
        self._observer.step_started(step.index, total, step.name, step.summary)
        self._ledger.write(self._record.id, step.index, step.name, "begin", fence=self._lease.token)
        try:
            detail = self._act(step)
        except BaseException as error:
            text = " ".join(str(error).split()) or type(error).__name__
            self._ledger.write(
                self._record.id, step.index, step.name, "failed", fence=self._lease.token, reason=text
            )
            self._observer.step_finished(step.index, step.name, "failed", time.monotonic() - started, text)
            raise
        self._ledger.write(
            self._record.id, step.index, step.name, "end", fence=self._lease.token, detail=detail
        )
        self._observer.step_finished(step.index, step.name, "done", time.monotonic() - started, detail)

    def _act(self, step: Step) -> str:
        plan, fence = self._plan, self._lease.token
        match step.kind:
            case Kind.INSTALL:
                builds = BuildStore(self._config.builds_dir)
                build = builds.find(plan.build)
                builds.verify(build)
                self._engine.install(build)
                return build.digest[:12]
            case Kind.START:
                self._engine.start(BuildStore(self._config.builds_dir).find(plan.build), plan.generation)
                return ""
            case Kind.LOAD:
                return self._start_load()
            case Kind.SHIFT:
                return self._shift(int(step.params["weight"]))
            case Kind.WATCH:
                return self._watch(step)
            case Kind.CHECKS:
                return self._checks(step.params.get("suites") or list(self._environment.checks))
            case Kind.GATE:
                return self._judge_all(step)
            case Kind.FINISH:
                if plan.previous_generation:
                    self._engine.retire(plan.previous_generation, after=step.params["after"], fence=fence)
                return ""
            case Kind.ROLLBACK_SHIFT:
                assert plan.previous_generation is not None
                return self._return_to(plan.previous_generation)
            case Kind.ROLLBACK_STOP:
                self._engine.stop(plan.generation, fence=fence)
                return ""
            case Kind.ROLLBACK_VERIFY:
                return self._verify_back()
            case Kind.ROLLBACK_RECORD:
                return self._record_incident()

    # --- load and evidence -------------------------------------------------------------------

    def _start_load(self) -> str:
        settings = self._environment.load
        if settings is None or self._load is not None:
            return ""
        self._load = LoadRun(
            self._engine.targets()[0],
            users=settings.users,
            spawn_rate=settings.spawn_rate,
            cut_every=settings.cut_every,
            directory=self._runs / f"load-{time.time_ns()}",
        )
        self._load.start()
        self._load.wait_ready(LOAD_READY_SECONDS)
        return f"{settings.users} users in their shells"

    def _finish_load(self) -> None:
        """Have every load user verify its shell to the end, and record what they found."""
        if self._load is None or self._load_finished:
            return
        self._load_finished = True
        summary = self._load.stop()
        self._ledger.add_figures(
            self._record.id,
            load_users=summary.users,
            load_reconnections=summary.reconnections,
            load_loops=summary.loops,
            bytes_verified=summary.verified,
            bytes_lost=summary.lost,
            bytes_doubled=summary.doubled,
            commands_twice=summary.twice,
        )

    def _shift(self, weight: int) -> str:
        plan = self._plan
        if self._shifted_at is None:
            self._shifted_at = time.time()
        if plan.previous_generation is None or weight == 100:
            weights = {plan.generation: 100}
        else:
            weights = {plan.previous_generation: 100 - weight, plan.generation: weight}
        result = self._engine.shift(weights, to=plan.generation, share=weight, fence=self._lease.token)
        self._ledger.add_figures(
            self._record.id,
            sessions_moved=result.moved,
            sessions_drained=result.drained,
            sessions_severed=result.severed,
        )
        return _moves(result)

    def _observe(self) -> list[Evidence]:
        """Everything known about the new generation since the first shift of this rollout."""
        window = (self._shifted_at or self._record.started, time.time())
        found = from_generation(self._engine.status(), self._plan.generation, window)
        if self._load is not None:
            since = window[0]
            everybody = self._load.summary(since)
            on_new = self._load.summary(since, generation=self._plan.generation)
            found += from_load(everybody, on_new, window, self._plan.generation)
            if not self._load.running and not self._load_finished:
                raise EngineError("the load run has ended by itself; its evidence is not complete")
        return found

    def _gates(self, *when: str) -> list[Gate]:
        return [gate for gate in self._environment.gates if gate.on in when]

    def _watch(self, step: Step) -> str:
        started = time.monotonic()
        results, evidence = self._watch_gates(self._gates("shift", "any"), float(step.params["hold"]))
        self._ledger.record_verdicts(self._record.id, step.name, results, evidence)
        self._observer.gate_results(results, True)
        if results and worst(result.verdict for result in results) is not Verdict.PASS:
            raise NotPassed(results)
        return f"{len(results)} gates passed after {time.monotonic() - started:.0f} s"

    def _watch_gates(self, gates: Sequence[Gate], hold: float) -> tuple[list[GateResult], list[Evidence]]:
        """Judge ``gates`` each second for ``hold`` seconds.

        A fail ends it at once; without a pass it goes on for ``max_hold``, for more evidence.
        """
        if self._environment.load is not None and self._load is None:
            self._start_load()  # after a resume
        started = time.monotonic()
        limit = max(hold, self._environment.max_hold)
        while True:
            evidence = self._observe()
            results = evaluate_all(gates, evidence)
            verdict = worst(result.verdict for result in results) if results else Verdict.PASS
            elapsed = time.monotonic() - started
            passed = elapsed >= hold and verdict is Verdict.PASS
            if passed or verdict in (Verdict.FAIL, Verdict.ERROR) or elapsed >= limit:
                return results, evidence
            self._observer.gate_results(results, False)
            self._lease.check()
            time.sleep(POLL)

    def _checks(self, suites: Sequence[str]) -> str:
        """Run suites on every host; what they found is evidence for the gates.

        Raises:
            EngineError: a build that is being returned to does not pass: there is no gate behind it.
        """
        parts = []
        bad: list[CheckResult] = []
        for suite in suites:
            results = [result for target in self._engine.targets() for result in SUITES[suite](target)]
            self._ledger.record_checks(self._environment.name, self._record.id, results)
            self._evidence.append(from_checks(suite, results))
            parts.append(f"{suite} {sum(result.ok for result in results)}/{len(results)}")
            bad += [result for result in results if not result.ok]
        for result in bad:
            self._observer.message(f"{result.suite}: {result.name}: {result.detail}", "warning")
        if bad and self._plan.kind == "rollback":
            raise EngineError(f"the build that was returned to does not pass: {', '.join(parts)}")
        return ", ".join(parts)

    def _judge_all(self, step: Step) -> str:
        if self._environment.checks and not self._evidence:
            self._checks(self._environment.checks)  # a resume in between: evidence is not carried over
        if self._environment.load is not None and self._load is None:
            # After a resume in between the load's evidence is gone: collect it anew, as long as a watch.
            self._watch_gates(self._gates("shift", "any"), self._environment.canary[-1].hold)
        self._finish_load()
        evidence = [*self._evidence, *self._observe()]
        results = evaluate_all(self._environment.gates, evidence)
        self._ledger.record_verdicts(self._record.id, step.name, results, evidence)
        self._observer.gate_results(results, True)
        if not results or worst(result.verdict for result in results) is not Verdict.PASS:
            raise NotPassed(results)
        return f"{len(results)} of {len(results)} gates passed"

    # --- back --------------------------------------------------------------------------------

    def _back(self, cause: RolloutError, *, verdict_at: float | None) -> RolloutRecord:
        reason = cause.message
        if self._record.state is not State.ROLLING_BACK:
            self._ledger.add_figures(self._record.id, cause=type(cause).__name__)
            self._record = self._ledger.transition(self._record.id, State.ROLLING_BACK, reason=reason)
            self._observer.message(f"rolling back: {reason}", "error")
        if verdict_at is None:
            verdict_at = next(
                (entry.at for entry in self._journal if entry.phase == "failed"), self._record.started
            )
        self._verdict_at = verdict_at
        done = {entry.index for entry in self._journal if entry.phase == "end"}
        journal = self._ledger.journal(self._record.id)
        started = any(entry.step == Kind.START and entry.phase == "begin" for entry in journal)
        shifted = any(entry.step.startswith("shift-") for entry in journal)
        steps = [
            step
            for step in self._plan.backward
            if step.index not in done
            # Before its generation was started there is nothing to stop and nowhere to come back from.
            and (started or shifted or step.kind is Kind.ROLLBACK_RECORD)
        ]
        total = len(self._plan.forward) + len(self._plan.backward)
        try:
            for step in steps:
                self._lease.check()
                self._do(step, total)
        except (RolloutError, KeyboardInterrupt) as error:
            self._ledger.transition(self._record.id, State.ROLLBACK_FAILED, reason=reason)
            text = str(error) or "interrupted"
            raise RollbackFailed(
                f"{self._environment.name}: the rollback stopped: {text}; go on with:"
                f" rollout resume {self._environment.name} (it was to undo: {reason})"
            ) from error
        self._record = self._ledger.transition(self._record.id, State.ROLLED_BACK, reason=reason)
        back_to = self._plan.previous_build or "nothing: there was no earlier build"
        raise type(cause)(f"{self._environment.name} is back on {back_to}: {reason}")

    def _return_to(self, generation: str) -> str:
        for status in self._engine.status().values():
            entry = _generation(status, generation)
            if entry is not None and entry["retire_at"]:
                self._engine.keep(generation, fence=self._lease.token)
                break
        result = self._engine.shift({generation: 100}, to=generation, share=100, fence=self._lease.token)
        full = time.time() - (result.seconds - result.cleared)
        self._ledger.add_figures(
            self._record.id,
            sessions_returned=result.moved,
            sessions_drained=result.drained,
            sessions_severed=result.severed,
            verdict_to_rolled_back_s=round(full - self._verdict_at, 3),
        )
        return _moves(result)

    def _verify_back(self) -> str:
        """The previous generation has all traffic, the bad one none, and the front door works.

        Raises:
            EngineError: it does not.
        """
        plan = self._plan
        for host, status in self._engine.status().items():
            old = _generation(status, plan.previous_generation)
            new = _generation(status, plan.generation)
            if old is None or old["weight"] != 100:
                raise EngineError(f"{host}: {plan.previous_generation} does not have all traffic")
            if new is not None and (new["weight"] or new["connections"]):
                raise EngineError(f"{host}: {plan.generation} still serves {new['connections']} connections")
        results = [result for target in self._engine.targets() for result in smoke(target)]
        self._ledger.record_checks(self._environment.name, self._record.id, results)
        bad = [result for result in results if not result.ok]
        if bad:
            raise EngineError(f"smoke after the rollback: {bad[0].name}: {bad[0].detail}")
        return f"smoke {len(results)}/{len(results)}"

    def _record_incident(self) -> str:
        """Write down what happened, with the figures, where people will look for it."""
        self._finish_load()
        self._record = self._ledger.rollout(self._record.id)
        path = self._runs / "incident.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_incident(self._record, self._ledger))
        return str(_relative(path))


def _incident(record: RolloutRecord, ledger: Ledger) -> str:
    lines = [
        f"# Incident: {record.env} rollout #{record.number} was rolled back",
        "",
        f"- build on trial: `{record.build}` as generation `{record.generation}`",
        f"- returned to: `{record.previous_build}` (`{record.previous_generation}`)",
        f"- reason: {record.reason}",
        f"- operator: {record.operator}",
        "",
        "## Figures",
        "",
        *(f"- {name}: {value}" for name, value in record.figures.items()),
        "",
        "## Timeline (UTC)",
        "",
        *(
            f"- {time.strftime('%H:%M:%S', time.gmtime(entry.at))} {entry.step} {entry.phase}"
            + (
                f": {entry.data.get('reason') or entry.data.get('detail')}"
                if any(entry.data.values())
                else ""
            )
            for entry in ledger.journal(record.id)
        ),
        "",
        "## Verdicts that were not a pass",
        "",
        *(
            f"- {step}: {result.verdict}: {result.reason}"
            for step, result in ledger.verdicts(record.id)
            if result.verdict is not Verdict.PASS
        ),
        "",
    ]
    return "\n".join(lines)


def _generation(status: Mapping[str, Any] | None, name: str | None) -> Mapping[str, Any] | None:
    return next((entry for entry in (status or {}).get("generations", []) if entry["name"] == name), None)


def _moves(result: ShiftResult) -> str:
    return (
        f"{result.moved} sessions moved, {result.drained} drained, {result.severed} severed"
        f" in {result.seconds:.1f} s" + (f", {result.remaining} not reached" if result.remaining else "")
    )


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
