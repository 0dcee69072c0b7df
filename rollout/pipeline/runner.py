"""Carries out a plan: every step is journaled before it acts, and every step may be done again.

Killed at any point, the journal says what had begun and what had ended; going on repeats the
step that had not ended. Anything but a passing verdict carries out the plan's backward steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rollout.build import BuildStore
from rollout.checks.infra import SUITE as INFRA
from rollout.checks.load import LoadRun
from rollout.checks.runner import CheckResult
from rollout.checks.smoke import smoke
from rollout.checks.validate import validate
from rollout.config import Config, Environment, Gate
from rollout.engine import Engine, ShiftResult
from rollout.engine.base import running_parts
from rollout.errors import (
    EngineError,
    GateFailed,
    GateInconclusive,
    GlassBroken,
    Interrupted,
    RollbackFailed,
    RolloutError,
)
from rollout.evidence import from_checks, from_comparison, from_generation, from_load
from rollout.evidence.junit import write_junit
from rollout.gates import END, Watch, deciding, evaluate_all
from rollout.ledger import Lease, Ledger, RolloutRecord, State
from rollout.model import Evidence, GateResult, Verdict, worst
from rollout.notify import Severity
from rollout.observer import Observer
from rollout.pipeline.adopt import nothing_broken
from rollout.pipeline.aftermath import announce, attempt, dashboard, incident
from rollout.pipeline.infra import verify
from rollout.pipeline.parts import from_params, there
from rollout.pipeline.plan import Kind, Plan, Step
from rollout.pipeline.retention import builds_to_keep
from rollout.pipeline.sources import Sources

LOAD_READY_SECONDS = 90.0
POLL = 1.0
SUITES = {"validate": validate, "smoke": smoke}


PLAN_STEPS: dict[Kind, tuple[str, ...]] = {
    # One command to the managers: no new connection goes to the bad build from its first moment on, live
    # sessions return, and what they are is kept by holding them, not by copying.
    Kind.ROLLBACK_SHIFT: ("stop", "revert", "preserve"),
    Kind.SHIFT: ("stop", "revert", "preserve"),
    Kind.ROLLBACK_VERIFY: ("verify",),
    Kind.CHECKS: ("verify",),
    Kind.ROLLBACK_TELL: ("communicate",),
    Kind.ROLLBACK_SHOW: ("dashboard",),
    Kind.ROLLBACK_RECORD: ("incident",),
}
"""Which steps of the documented plan a step carries out, on the way back."""


_OF_MANAGERS = (Kind.ROLLBACK_MANAGER, Kind.ROLLBACK_TELL, Kind.ROLLBACK_SHOW)
"""What is to be done, too, where what stays was replaced and no generation was started."""


class Rehearsed(RolloutError):
    """Why a rehearsal goes back: that is what it is for."""


_CAUSES: dict[str, type[RolloutError]] = {
    kind.__name__: kind for kind in (GateFailed, GateInconclusive, EngineError, Interrupted, Rehearsed)
}
"""What a rollback may be the answer to; a resumed one ends with the exit code of its cause."""


class NotPassed(Exception):
    """The verdict is not a pass. Carries what the gates said."""

    def __init__(self, results: Sequence[GateResult]) -> None:
        counting = deciding(results)
        self.verdict = worst(result.verdict for result in counting)
        self.reasons = [result.reason for result in counting if result.verdict is not Verdict.PASS]
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
        self._full_at: float | None = None
        """When the first host began to give all its traffic to the new generation: no comparison after it."""
        self._evidence: list[Evidence] = []
        self._worked = True
        """Whether what a step does besides, and must not fail for, was done: telling people, say."""
        self._journal = ledger.journal(record.id)
        first = self._plan.previous_generation is None
        self._all_gates = [gate for gate in environment.gates if not (first and gate.compare == "baseline")]
        """The first build has nothing to be compared with; all that is asked of it alone still is."""
        self._runs = config.state / "runs" / environment.name / str(record.number)
        self._sources = Sources(
            config,
            environment,
            engine,
            generation=self._plan.generation,
            previous=self._plan.previous_generation,
        )

    def run(self) -> RolloutRecord:
        """Go forward, or go on from where the journal ends; go back when a verdict is not a pass.

        Returns the record of a promoted rollout.

        Raises:
            GateFailed: rolled back because a gate failed or was in error about the build.
            GateInconclusive: rolled back because the evidence was not enough to pass.
            EngineError: rolled back because a host failed; or stopped because the lease was lost.
            GlassBroken: stopped because the hosts were led back without the ledger.
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
        shifts = {step.name: step for step in self._plan.forward if step.kind is Kind.SHIFT}
        self._shifted_at = next((entry.at for entry in began if entry.step in shifts), None)
        full = {name for name, step in shifts.items() if int(step.params["weight"]) == 100}
        self._full_at = next((entry.at for entry in began if entry.step in full), None)
        try:
            for step in self._plan.forward:
                if step.index in done:
                    continue
                self._in_charge(step)
                self._do(step, len(self._plan.forward))
        except GlassBroken:
            raise  # to go back would be to undo what was done by hand
        except NotPassed as verdict:
            reason = str(verdict)
            kind = GateFailed if verdict.verdict is Verdict.FAIL else GateInconclusive
            return self._back(kind(reason), verdict_at=time.time())
        except KeyboardInterrupt:
            return self._back(Interrupted("stopped by the operator"), verdict_at=time.time())
        except RolloutError as error:
            self._lease.check()
            return self._back(error, verdict_at=time.time())
        if self._plan.kind == "rehearsal":
            return self._back(Rehearsed("a rehearsal"), verdict_at=time.time())
        if self._plan.kind == "apply":
            self._record = self._ledger.transition(self._record.id, State.APPLIED)
            self._aftermath(lambda: dashboard(self._config, self._environment))
            return self._record
        record = self._ledger.add_figures(
            self._record.id, time_to_promote_s=round(time.time() - self._record.started, 3)
        )
        self._record = self._ledger.transition(record.id, State.PROMOTED)
        if self._record.kind != "rollback":  # whose own steps have told already
            self._aftermath(lambda: self._announce(f"{record.build} was promoted", "info"))
            self._aftermath(lambda: dashboard(self._config, self._environment))
        return self._record

    def _in_charge(self, step: Step) -> None:
        """See to it that nobody else leads the users by now.

        Raises:
            EngineError: the lease was lost.
            GlassBroken: the hosts were led back without the ledger, perhaps with a fence no higher than ours.
        """
        self._lease.check()
        if step.kind in (Kind.SHIFT, Kind.ROLLBACK_SHIFT):
            nothing_broken(self._environment.name, self._engine)

    def _do(self, step: Step, total: int) -> None:
        started = time.monotonic()
        self._observer.step_started(step.index, total, step.name, step.summary)
        self._ledger.write(self._record.id, step.index, step.name, "begin", fence=self._lease.token)
        self._worked = True
        try:
            detail = self._act(step)
        except BaseException as error:
            text = " ".join(str(error).split()) or type(error).__name__
            self._ledger.write(
                self._record.id, step.index, step.name, "failed", fence=self._lease.token, reason=text
            )
            self._record_plan_steps(step, time.monotonic() - started, text, ok=False)
            self._observer.step_finished(step.index, step.name, "failed", time.monotonic() - started, text)
            raise
        self._record_plan_steps(step, time.monotonic() - started, detail, ok=self._worked)
        self._ledger.write(
            self._record.id, step.index, step.name, "end", fence=self._lease.token, detail=detail
        )
        self._observer.step_finished(step.index, step.name, "done", time.monotonic() - started, detail)

    def _record_plan_steps(self, step: Step, seconds: float, outcome: str, *, ok: bool = True) -> None:
        """The steps of the documented rollback plan, each with its time and outcome."""
        back = self._record.kind == "rollback" or step.index >= len(self._plan.forward)
        for name in PLAN_STEPS.get(step.kind, ()) if back else ():
            self._ledger.add_event(
                self._environment.name,
                "plan-step",
                by=self._record.operator,
                rollout=self._record.id,
                step=name,
                seconds=round(seconds, 3),
                outcome=outcome or step.summary,
                ok=ok,
            )

    def _act(self, step: Step) -> str:
        plan, fence = self._plan, self._lease.token
        match step.kind:
            case Kind.INSTALL:
                builds = BuildStore(self._config.builds_dir)
                build = builds.find(plan.build)
                builds.verify(build)
                self._engine.install(build, hosts=list(step.hosts))
                return build.digest[:12]
            case Kind.MANAGER:
                return self._replace(step)
            case Kind.ROLLBACK_MANAGER:
                return self._managers_back()
            case Kind.START:
                build = BuildStore(self._config.builds_dir).find(plan.build)
                self._engine.start(build, plan.generation, hosts=list(step.hosts))
                return ""
            case Kind.LOAD:
                return self._start_load()
            case Kind.SHIFT if plan.kind == "rollback":
                return self._with_a_manager(
                    lambda: self._shift(int(step.params["weight"]), list(step.hosts)),
                    lambda: self._replaced_first(Kind.MANAGER),
                )
            case Kind.SHIFT:
                return self._shift(int(step.params["weight"]), list(step.hosts))
            case Kind.WATCH:
                return self._watch(step)
            case Kind.CHECKS:
                return self._checks(step.params.get("suites") or list(self._environment.checks))
            case Kind.GATE:
                return self._judge_all(step)
            case Kind.FINISH:
                if plan.previous_generation:
                    self._engine.retire(
                        plan.previous_generation,
                        after=step.params["after"],
                        # Whoever was left because of a rollback is nobody's way back.
                        way_back_from=plan.generation if plan.kind != "rollback" else None,
                        fence=fence,
                        hosts=list(step.hosts),
                    )
                return self._tidy() if plan.kind != "rollback" else ""
            case Kind.ROLLBACK_SHIFT:
                previous = plan.previous_generation
                assert previous is not None
                return self._with_a_manager(
                    lambda: self._return_to(previous), lambda: self._replaced_first(Kind.ROLLBACK_MANAGER)
                )
            case Kind.ROLLBACK_STOP:
                self._engine.stop(plan.generation, fence=fence, hosts=self._reached())
                return ""
            case Kind.ROLLBACK_VERIFY:
                return self._verify_back()
            case Kind.ROLLBACK_TELL:
                return self._tell_of_return()
            case Kind.ROLLBACK_SHOW:
                return self._aftermath(lambda: dashboard(self._config, self._environment))
            case Kind.ROLLBACK_RECORD:
                return self._file_incident()

    # --- what stays: session manager, holder, monitor -----------------------------------------

    def _replace(self, step: Step) -> str:
        """Put other parts in place, under all sessions."""
        before = time.monotonic()
        parts = from_params(step.params["to"], list(step.hosts))
        self._engine.manage(parts, fence=self._lease.token)
        status = self._engine.status()
        live = sum((status.get(host) or {"sessions": {"live": 0}})["sessions"]["live"] for host in parts)
        return f"{live} sessions go on, after {time.monotonic() - before:.1f} s"

    def _managers_back(self) -> str:
        """Those of before, where they may have been replaced."""
        back = next((step for step in self._plan.backward if step.kind is Kind.ROLLBACK_MANAGER), None)
        before = from_params(back.params["to"], self._managed()) if back else {}
        status = self._engine.status()
        missing = {
            host: {
                part: wanted
                for part, wanted in parts.items()
                # Of a host whose session manager does not answer, nothing is known.
                if status.get(host) is None or not there(running_parts(status[host])[part], wanted)
            }
            for host, parts in before.items()
        }
        missing = {host: parts for host, parts in missing.items() if parts}
        if missing:
            self._engine.manage(missing, fence=self._lease.token)
        return f"on {', '.join(missing)}" if missing else "they are there already"

    def _replaced_first(self, kind: Kind) -> bool:
        """Put a session manager there that does what it is told; whether there was another one."""
        steps = [*self._plan.forward, *self._plan.backward]
        step = next((step for step in steps if step.kind is kind), None)
        if step is None:
            return False
        if kind is Kind.MANAGER:
            self._replace(step)
        else:
            self._managers_back()
        return True

    def _with_a_manager(self, act: Callable[[], str], other: Callable[[], bool]) -> str:
        """Tell session managers something; where they fail, once more those that are gone back to."""
        try:
            return act()
        except EngineError:
            self._lease.check()
            if not other():
                raise
            return act()

    def _managed(self) -> list[str]:
        """The hosts whose session manager was replaced, or may have been."""
        begun = {entry.step for entry in self._ledger.journal(self._record.id)}
        hosts: dict[str, None] = {}
        for step in self._plan.forward:
            if step.kind is Kind.MANAGER and step.name in begun:
                hosts |= dict.fromkeys(step.hosts)
        return list(hosts)

    def _tidy(self) -> str:
        keep = builds_to_keep(self._config, self._ledger, self._record)
        try:
            gone = self._engine.tidy(keep)
        except (EngineError, OSError) as error:
            return f"old builds stay: {error}"  # which is no reason to take this one back
        return f"removed {len(gone)} old build{'s' * (len(gone) != 1)}" if gone else ""

    # --- load and evidence -------------------------------------------------------------------

    def _start_load(self) -> str:
        settings = self._environment.load
        if settings is None or self._load is not None:
            return ""
        self._load = LoadRun(
            self._engine.targets(),
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

    def _shift(self, weight: int, hosts: list[str]) -> str:
        plan = self._plan
        if self._shifted_at is None:
            self._shifted_at = time.time()
        if self._full_at is None and weight == 100:
            self._full_at = time.time()
        if plan.previous_generation is None or weight == 100:
            weights = {plan.generation: 100}
        else:
            weights = {plan.previous_generation: 100 - weight, plan.generation: weight}
        if plan.kind == "rollback":
            self._keep(plan.generation, hosts)
        result = self._engine.shift(
            weights, to=plan.generation, share=weight, fence=self._lease.token, hosts=hosts
        )
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
            found += self._of_load(self._load, window)
            if not self._load.running and not self._load_finished:
                raise EngineError("the load run has ended by itself; its evidence is not complete")
        return found + self._sources.evidence(window[0], self._full_at)

    def _of_load(self, load: LoadRun, window: tuple[float, float]) -> list[Evidence]:
        """What the load says since the first shift, in the windows of the gates, and beside the baseline."""
        start, end = window
        new, old = self._plan.generation, self._plan.previous_generation
        found = from_load(load.summary(start), load.summary(start, generation=new), window, new)
        for seconds in {gate.window for gate in self._all_gates if gate.window is not None}:
            since = max(start, end - seconds)
            alone = load.summary(since, generation=new)
            found += from_load(load.summary(since), alone, (since, end), new, only=seconds)
        if old is not None and any(gate.compare == "baseline" for gate in self._all_gates):
            until = end if self._full_at is None else max(start, self._full_at)
            both = [load.summary(start, until, generation) for generation in (new, old)]
            found += from_comparison(both[0], both[1], (start, until), new, old)
        return found

    def _gates(self, *when: str) -> list[Gate]:
        return [gate for gate in self._all_gates if gate.on in when]

    def _watch(self, step: Step) -> str:
        started = time.monotonic()
        gates = self._gates("shift", "any")
        if self._full_at is not None:  # the baseline serves nobody any more, and was judged when it did
            gates = [gate for gate in gates if gate.compare != "baseline"]
        watches = [other for other in self._plan.forward if other.kind is Kind.WATCH]
        results, evidence = self._watch_gates(gates, float(step.params["hold"]), last=step is watches[-1])
        self._ledger.record_verdicts(self._record.id, step.name, results, evidence)
        self._observer.gate_results(results, True)
        if _worst(results) is not Verdict.PASS:
            raise NotPassed(results)
        return f"{len(results)} gates passed after {time.monotonic() - started:.0f} s"

    def _watch_gates(
        self, gates: Sequence[Gate], hold: float, *, last: bool = True
    ) -> tuple[list[GateResult], list[Evidence]]:
        """Judge ``gates`` each second for ``hold`` seconds.

        A fail ends it at once; without a pass it goes on for ``max_hold``, for more evidence. When the
        ``last`` step may pass: :class:`rollout.gates.Watch`.
        """
        if self._environment.load is not None and self._load is None:
            self._start_load()  # after a resume
        started = time.monotonic()
        # The wait before the last judgement is one more than the plan's steps.
        steps = 1 + sum(step.kind is Kind.WATCH for step in self._plan.forward)
        watch = Watch(hold, self._environment.max_hold, steps=steps, last=last, poll=POLL)
        while True:
            elapsed = time.monotonic() - started
            watch.tick(elapsed)
            evidence = self._observe()
            results = evaluate_all(gates, evidence, time.time(), watch.look)
            verdict = _worst(results)
            passed = elapsed >= hold and verdict is Verdict.PASS
            if passed or verdict in (Verdict.FAIL, Verdict.ERROR) or elapsed >= watch.limit:
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
            results = self._suite(suite)
            self._ledger.record_checks(self._environment.name, self._record.id, results)
            write_junit(self._runs / f"junit-{suite}.xml", suite, results, self._about())
            self._evidence += from_checks(suite, results)
            parts.append(f"{suite} {sum(result.ok for result in results)}/{len(results)}")
            bad += [result for result in results if not result.ok]
        for result in bad:
            self._observer.message(f"{result.suite}: {result.name}: {result.detail}", "warning")
        if bad and self._plan.kind == "rollback":
            raise EngineError(f"the build that was returned to does not pass: {', '.join(parts)}")
        if bad and self._plan.kind == "apply":
            raise EngineError(f"with these settings it does not pass: {', '.join(parts)}")
        return ", ".join(parts)

    def _about(self) -> dict[str, str]:
        return {
            "environment": self._environment.name,
            "rollout": str(self._record.number),
            "build": self._record.build,
        }

    def _suite(self, suite: str) -> list[CheckResult]:
        if suite == INFRA:
            return verify(self._config, self._environment, self._engine, self._ledger, trial=self._record)
        return [result for target in self._engine.targets() for result in SUITES[suite](target)]

    def _judge_all(self, step: Step) -> str:
        if self._environment.checks and not self._evidence:
            self._checks(self._environment.checks)  # a resume in between: evidence is not carried over
        if self._environment.load is not None and self._load is None:
            # After a resume in between the load's evidence is gone: collect it anew, as long as a watch.
            self._watch_gates(self._gates("shift", "any"), self._environment.canary[-1].hold)
        waiting = [gate for gate in self._gates("checks") if gate.about.source == "load"]
        if waiting and self._load is not None:
            self._watch_gates(waiting, 0.0)  # nobody has waited for these to have enough data yet
        self._finish_load()
        evidence = [*self._evidence, *self._observe()]
        results = evaluate_all(self._all_gates, evidence, time.time(), lambda _: END)
        self._ledger.record_verdicts(self._record.id, step.name, results, evidence)
        self._observer.gate_results(results, True)
        if not deciding(results) or _worst(results) is not Verdict.PASS:
            raise NotPassed(results)
        passed = sum(result.verdict is Verdict.PASS for result in results)
        warned = len(results) - passed
        return f"{passed} of {len(results)} gates passed" + (f", {warned} only warn" if warned else "")

    # --- back --------------------------------------------------------------------------------

    def _back(self, cause: RolloutError, *, verdict_at: float | None) -> RolloutRecord:
        reason = cause.message
        if self._record.state is not State.ROLLING_BACK:
            self._ledger.add_figures(self._record.id, cause=type(cause).__name__)
            self._record = self._ledger.transition(self._record.id, State.ROLLING_BACK, reason=reason)
            rehearsal = isinstance(cause, Rehearsed)
            self._observer.message(
                f"going back: {reason}" if rehearsal else f"rolling back: {reason}",
                "info" if rehearsal else "error",
            )
        if verdict_at is None:
            verdict_at = next(
                (entry.at for entry in self._journal if entry.phase == "failed"), self._record.started
            )
        self._verdict_at = verdict_at
        done = {entry.index for entry in self._journal if entry.phase == "end"}
        reached, managed = self._reached(), self._managed()
        steps = [
            step
            for step in self._plan.backward
            if step.index not in done
            # Before its generation was started there is nothing to stop and nowhere to come back from.
            and (reached or step.kind is Kind.ROLLBACK_RECORD or (step.kind in _OF_MANAGERS and managed))
        ]
        total = len(self._plan.forward) + len(self._plan.backward)
        try:
            for step in steps:
                self._in_charge(step)
                self._do(step, total)
        except GlassBroken:
            raise
        except (RolloutError, KeyboardInterrupt) as error:
            text = str(error) or "interrupted"
            self._record = self._ledger.transition(self._record.id, State.ROLLBACK_FAILED, reason=reason)
            self._aftermath(lambda: self._announce(f"THE ROLLBACK STOPPED: {text}", "critical"))
            self._aftermath(lambda: dashboard(self._config, self._environment))
            raise RollbackFailed(
                f"{self._environment.name}: the rollback stopped: {text}; go on with:"
                f" rollout resume {self._environment.name} (it was to undo: {reason})"
            ) from error
        if isinstance(cause, Rehearsed):
            return self._end_rehearsal()
        self._record = self._ledger.transition(self._record.id, State.ROLLED_BACK, reason=reason)
        self._aftermath(lambda: dashboard(self._config, self._environment))
        back_to = self._plan.previous_build or "nothing: there was no earlier build"
        if self._plan.kind == "apply":
            back_to = "the settings of before"
        raise type(cause)(f"{self._environment.name} is back on {back_to}: {reason}")

    def _end_rehearsal(self) -> RolloutRecord:
        """What was to be proven: everybody came back, and nothing was lost on the way.

        Raises:
            GateFailed: it was not so.
        """
        figures = self._ledger.rollout(self._record.id).figures
        harm = ("sessions_severed", "bytes_lost", "bytes_doubled", "commands_twice")
        bad = [f"{name.replace('_', ' ')}: {figures[name]}" for name in harm if figures.get(name)]
        if bad:
            reason = f"the rehearsal did harm: {', '.join(bad)}"
            self._ledger.transition(self._record.id, State.ROLLED_BACK, reason=reason)
            raise GateFailed(f"{self._environment.name}: {reason}")
        return self._ledger.transition(self._record.id, State.REHEARSED)

    def _reached(self) -> list[str]:
        """The hosts on which the build on trial was started, or may have been: the others never saw it."""
        begun = {entry.step for entry in self._ledger.journal(self._record.id)}
        hosts: dict[str, None] = {}
        for step in self._plan.forward:
            if step.kind in (Kind.START, Kind.SHIFT) and step.name in begun:
                hosts |= dict.fromkeys(step.hosts)
        return list(hosts)

    def _return_to(self, generation: str) -> str:
        reached, fence = self._reached(), self._lease.token
        self._keep(generation, reached)
        before = self._belonging(reached)
        result = self._engine.shift({generation: 100}, to=generation, share=100, fence=fence, hosts=reached)
        # Some come back by themselves as soon as the weights are set: a bad build drops its people.
        returned = max(result.moved, before - result.drained - self._belonging(reached))
        full = time.time() - (result.seconds - result.cleared)
        self._ledger.add_figures(
            self._record.id,
            sessions_returned=returned,
            sessions_drained=result.drained,
            sessions_severed=result.severed,
            verdict_to_rolled_back_s=round(full - self._verdict_at, 3),
        )
        return _moves(result)

    def _belonging(self, hosts: Sequence[str]) -> int:
        """How many live sessions belong to the build on trial."""
        statuses = self._engine.status()
        found = [_generation(statuses.get(host), self._plan.generation) for host in hosts]
        return sum(int(entry["assigned"]) for entry in found if entry)

    def _keep(self, generation: str, hosts: Sequence[str]) -> None:
        """Whoever is gone back to was to end when the rollback window is over: it stays."""
        statuses = self._engine.status()
        leaving = [
            host for host in hosts if (_generation(statuses.get(host), generation) or {}).get("retire_at")
        ]
        if leaving:
            self._engine.keep(generation, fence=self._lease.token, hosts=leaving)

    def _verify_back(self) -> str:
        """The previous generation has all traffic, the bad one none, and the front door works.

        Raises:
            EngineError: it does not.
        """
        plan = self._plan
        reached = self._reached()
        for host, status in self._engine.status().items():
            if host not in reached:
                continue
            old = _generation(status, plan.previous_generation)
            new = _generation(status, plan.generation)
            if old is None or old["weight"] != 100:
                raise EngineError(f"{host}: {plan.previous_generation} does not have all traffic")
            if new is not None and (new["weight"] or new["connections"]):
                raise EngineError(f"{host}: {plan.generation} still serves {new['connections']} connections")
        results = [result for target in self._engine.targets() for result in smoke(target)]
        self._ledger.record_checks(self._environment.name, self._record.id, results)
        write_junit(self._runs / "junit-smoke-after-rollback.xml", "smoke", results, self._about())
        bad = [result for result in results if not result.ok]
        if bad:
            raise EngineError(f"smoke after the rollback: {bad[0].name}: {bad[0].detail}")
        return f"smoke {len(results)}/{len(results)}"

    # --- what follows ------------------------------------------------------------------------

    def _tell_of_return(self) -> str:
        self._finish_load()
        record = self._record = self._ledger.rollout(self._record.id)
        back_to = record.previous_build or "nothing: there was no earlier build"
        titles = {
            "rehearsal": f"the way back was rehearsed with {record.build}",
            "rollback": f"back on {record.build}",
        }
        title = titles.get(record.kind, f"{record.build} was taken back; serving: {back_to}")
        severity: Severity = "info" if record.kind == "rehearsal" else "critical"
        return self._aftermath(lambda: self._announce(title, severity))

    def _announce(self, title: str, severity: Severity) -> str:
        return announce(self._config, self._environment, self._ledger, self._record, title, severity)

    def _aftermath(self, act: Callable[[], str]) -> str:
        """Never raises; see :mod:`rollout.pipeline.aftermath`."""
        self._worked, text = attempt(act)
        if not self._worked:
            self._observer.message(text, "warning")
        return text

    def _file_incident(self) -> str:
        """Write down what happened, with the figures, where people will look for it."""
        self._finish_load()
        self._record = self._ledger.rollout(self._record.id)
        name = "rehearsal.md" if self._record.kind == "rehearsal" else "incident.md"
        return self._aftermath(lambda: incident(self._runs / name, self._record, self._ledger))


def _worst(results: Sequence[GateResult]) -> Verdict:
    """The verdict on a step: a pass where no gate decides anything there."""
    counting = deciding(results)
    return worst(result.verdict for result in counting) if counting else Verdict.PASS


def _generation(status: Mapping[str, Any] | None, name: str | None) -> Mapping[str, Any] | None:
    return next((entry for entry in (status or {}).get("generations", []) if entry["name"] == name), None)


def _moves(result: ShiftResult) -> str:
    return (
        f"{result.moved} sessions moved, {result.drained} drained, {result.severed} severed"
        f" in {result.seconds:.1f} s" + (f", {result.remaining} not reached" if result.remaining else "")
    )
