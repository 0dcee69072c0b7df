"""Carries out a plan: every step is journaled before it acts, and every step may be done again.

Killed at any point, the journal says what had begun and what had ended; going on repeats the
step that had not ended. Anything but a passing verdict carries out the plan's backward steps.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from rollout.config import Environment
from rollout.errors import (
    EngineError,
    GateFailed,
    GateInconclusive,
    GlassBroken,
    Interrupted,
    LeaseLost,
    LeaseNotRenewed,
    RollbackFailed,
    RolloutError,
    Unexpected,
)
from rollout.ledger import RolloutRecord, State
from rollout.model import Verdict
from rollout.pipeline.aftermath import dashboard
from rollout.pipeline.glass import nothing_broken
from rollout.pipeline.judging import NotPassed
from rollout.pipeline.pace import Pace, idle
from rollout.pipeline.steps import Step
from rollout.pipeline.trial import Trial


class Rehearsed(RolloutError):
    """Why a rehearsal goes back: that is what it is for."""


CAUSES: dict[str, type[RolloutError]] = {
    kind.__name__: kind
    for kind in (GateFailed, GateInconclusive, EngineError, Interrupted, Unexpected, Rehearsed)
}
"""What a rollback may be the answer to; a resumed one ends with the exit code of its cause."""


class Runner:
    """Carries out one rollout on one environment."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._interrupts = trial.interrupts
        self._pace = Pace(trial.ledger, trial.record)

    def run(self) -> RolloutRecord:
        """Go forward, or go on from where the journal ends; go back when a verdict is not a pass.

        Returns the record of a promoted rollout.

        Raises:
            GateFailed: rolled back because a gate failed or was in error about the build.
            GateInconclusive: rolled back because the evidence was not enough to pass.
            EngineError: rolled back because a host failed.
            Unexpected: rolled back because something happened that nobody had thought of.
            LeaseLost: another operator is at work: stopped where it was.
            GlassBroken: stopped because the hosts were led back without the ledger.
            RollbackFailed: the environment could not be returned to the previous build, or it could not be
                written down.
            Interrupted: rolled back because the operator said so.
        """
        trial = self._trial
        try:
            if trial.record.state is State.RUNNING:
                return self._forward()
            kind = CAUSES.get(str(trial.record.figures.get("cause")), GateFailed)
            return self._back(kind(trial.record.reason), resumed=True)
        except LeaseNotRenewed as error:
            if trial.past_return:
                raise
            raise self._without_the_ledger(error.why, trial.record.reason) from error
        finally:
            trial.aftermath(trial.judging.stop)

    # --- forward ---------------------------------------------------------------------------

    def _forward(self) -> RolloutRecord:
        trial = self._trial
        try:
            for step in self._left(trial.plan.forward):
                self._in_charge(step)
                self._forth(step)
            if not trial.past_return:
                self._interrupts.check()
        except (GlassBroken, LeaseLost):
            raise  # others lead the users by now, or may: see run()
        except NotPassed as verdict:
            kind = GateFailed if verdict.verdict is Verdict.FAIL else GateInconclusive
            return self._back(kind(str(verdict)), at=verdict.at)
        except KeyboardInterrupt as asked:
            return self._back(Interrupted(str(asked) or "stopped by the operator"))
        except RolloutError as error:
            # What a command is refused for with nothing touched is another thing in the middle of one.
            return self._back(error if type(error) in CAUSES.values() else EngineError(error.message))
        except Exception as error:
            return self._back(self._unexpected(error))
        if trial.plan.kind == "rehearsal":
            return self._back(Rehearsed("a rehearsal"))
        return self._done()

    def _forth(self, step: Step) -> None:
        """One step forward; what fails where there is no way back any more is said, and gone on from."""
        trial = self._trial
        try:
            self._do(step, trial.plan.forward)
        except (GlassBroken, LeaseLost):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if not trial.past_return:
                raise
            text = " ".join(str(error).split()) or type(error).__name__
            trial.observer.message(
                f"{step.name}: {text}; there is no way back any more: it goes on", "warning"
            )

    def _done(self) -> RolloutRecord:
        trial = self._trial
        if trial.plan.kind == "apply":
            trial.record = trial.ledger.transition(trial.record.id, State.APPLIED)
            trial.aftermath(lambda: dashboard(trial.config, trial.environment))
            return trial.record
        lain = idle(trial.ledger.journal(trial.record.id))
        figures = {"time_to_promote_s": round(time.time() - trial.record.started - lain, 3)}
        if lain:
            figures["interrupted_s"] = round(lain, 3)
        trial.ledger.add_figures(trial.record.id, **figures)
        trial.record = trial.ledger.transition(trial.record.id, State.PROMOTED)
        if trial.record.kind != "rollback":  # whose own steps have told already
            trial.aftermath(lambda: trial.announce(f"{trial.record.build} was promoted", "info"))
            trial.aftermath(lambda: dashboard(trial.config, trial.environment))
        return trial.record

    def _left(self, steps: Sequence[Step]) -> list[Step]:
        """The steps that have not ended yet."""
        journal = self._trial.ledger.journal(self._trial.record.id)
        ended = {entry.index for entry in journal if entry.phase == "end"}
        return [step for step in steps if self._index(step) not in ended]

    def _index(self, step: Step) -> int:
        """Its place in the plan, where the same may be on the way forward and on the way back."""
        return next(index for index, other in enumerate(self._trial.plan.steps) if other is step)

    def _in_charge(self, step: Step) -> None:
        """See to it that nobody else leads the users by now.

        Raises:
            LeaseLost: somebody else may.
            GlassBroken: the hosts were led back without the ledger, perhaps with a fence no higher than ours.
        """
        self._trial.lease.check()
        if step.leads:
            nothing_broken(self._trial.environment.name, self._trial.engine)

    def _do(self, step: Step, way: Sequence[Step]) -> None:
        """A step of the way that it is one of."""
        trial = self._trial
        index, place = self._index(step), way.index(step)
        started = time.monotonic()
        ahead = self._pace.ahead(way[place:])
        trial.observer.step_started(place, len(way), step.name, step.summary, ahead)
        self._journal(index, step, "begin")
        trial.begins(step)
        trial.worked = True
        try:
            with self._interrupts.open():
                nowhere = any(step is lost for lost in trial.nowhere)
                detail = "its hosts are lost" if nowhere else step.run(trial)
        except BaseException as error:
            text = " ".join(str(error).split()) or type(error).__name__
            self._note_failure(index, step, time.monotonic() - started, text)
            trial.observer.step_finished(place, step.name, "failed", time.monotonic() - started, text)
            raise
        self._record(index, step, time.monotonic() - started, detail, ok=trial.worked)
        self._journal(index, step, "end", detail=detail)
        trial.observer.step_finished(place, step.name, "done", time.monotonic() - started, detail)

    def _note_failure(self, index: int, step: Step, seconds: float, text: str) -> None:
        """Write down that a step has failed; where that cannot be, why it failed counts all the same."""
        try:
            self._journal(index, step, "failed", reason=text)
            self._record(index, step, seconds, text, ok=False)
        except LeaseLost:
            raise
        except Exception as error:
            self._trial.observer.message(f"not in the ledger: {error}", "warning")

    def _journal(self, index: int, step: Step, phase: str, **data: str) -> None:
        trial = self._trial
        trial.ledger.write(trial.record.id, index, step.name, phase, fence=trial.lease.token, **data)

    def _record(self, index: int, step: Step, seconds: float, outcome: str, *, ok: bool) -> None:
        """The steps of the documented rollback plan, each with its time and outcome."""
        trial = self._trial
        back = trial.record.kind == "rollback" or index >= len(trial.plan.forward)
        for name in step.records if back else ():
            trial.ledger.add_event(
                trial.environment.name,
                "plan-step",
                by=trial.record.operator,
                rollout=trial.record.id,
                step=name,
                seconds=round(seconds, 3),
                outcome=outcome or step.summary,
                ok=ok,
            )

    # --- back --------------------------------------------------------------------------------

    def _back(self, cause: RolloutError, *, resumed: bool = False, at: float | None = None) -> RolloutRecord:
        """Carry out the plan's steps back, and raise the cause.

        Raises:
            RollbackFailed: that did not work, or somebody stopped it.
        """
        trial, reason = self._trial, cause.message
        try:
            trial.lease.check()
        except LeaseNotRenewed as error:
            raise self._without_the_ledger(error.why, reason) from error
        self._interrupts.going_back(asked=isinstance(cause, Interrupted) and not resumed)
        trial.verdict_at = self._failed_at() if resumed else (at or time.time())
        rehearsal = isinstance(cause, Rehearsed)
        if trial.record.state is not State.ROLLING_BACK:
            try:
                trial.ledger.add_figures(trial.record.id, cause=type(cause).__name__)
                trial.record = trial.ledger.transition(trial.record.id, State.ROLLING_BACK, reason=reason)
            except LeaseLost:
                raise
            except RolloutError as error:
                raise self._without_the_ledger(error.message, reason) from error
            text = f"going back: {reason}" if rehearsal else f"rolling back: {reason}"
            trial.observer.message(text, "info" if rehearsal else "error")
        try:
            # Before its generation was started there is nothing to stop and nowhere to come back from.
            way = [step for step in trial.plan.backward if step.needed(trial)]
            for step in self._left(way):
                self._in_charge(step)
                self._do(step, way)
        except (GlassBroken, LeaseLost):
            raise
        except KeyboardInterrupt as asked:
            raise self._stuck(str(asked) or "interrupted", reason) from asked
        except RolloutError as error:
            raise self._stuck(error.message, reason) from error
        except Exception as error:
            raise self._stuck(self._unexpected(error).message, reason) from error
        if rehearsal:
            return self._end_rehearsal()
        trial.record = trial.ledger.transition(trial.record.id, State.ROLLED_BACK, reason=reason)
        trial.aftermath(lambda: dashboard(trial.config, trial.environment))
        back_to = trial.plan.previous_build or "nothing (there was no earlier build)"
        if trial.plan.kind == "apply":
            back_to = "the settings of before"
        raise type(cause)(f"{trial.environment.name} is back on {back_to}; {reason}")

    def _without_the_ledger(self, why: str, reason: str) -> RollbackFailed:
        """A full disk, a database that is away: nobody is left on a bad build for that."""
        trial, env = self._trial, self._trial.environment.name
        previous = trial.plan.previous_generation
        led = "nobody had been led to it"
        if previous is not None and trial.shifted_at is not None:
            hosts = list(trial.environment.hosts)
            back = trial.engine.lead_back(previous, fence=trial.lease.token, hosts=hosts)
            led = f"all traffic was led back to {previous}"
            if back.failed or back.broken:
                left = {**back.failed, **{host: str(mark) for host, mark in back.broken.items()}}
                led += f", but not on {', '.join(f'{host} ({what})' for host, what in left.items())}"
        trial.aftermath(lambda: trial.announce(f"THE LEDGER CANNOT BE WRITTEN: {led}", "critical"))
        return RollbackFailed(
            f"{env}: the ledger cannot be written ({why}); {led}; go on with: rollout resume {env}"
            f"{f' (it was to undo: {reason})' if reason else ''}"
        )

    def _failed_at(self) -> float:
        """When it was known that the build is to be left, by the journal of a rollout that is resumed."""
        journal = self._trial.ledger.journal(self._trial.record.id)
        return next((entry.at for entry in journal if entry.phase == "failed"), self._trial.record.started)

    def _stuck(self, text: str, reason: str) -> RollbackFailed:
        """Say what was left, to whoever is to be told."""
        trial, env = self._trial, self._trial.environment.name
        try:
            trial.record = trial.ledger.transition(trial.record.id, State.ROLLBACK_FAILED, reason=reason)
        except LeaseLost:
            raise
        except RolloutError as error:
            trial.observer.message(f"not in the ledger: {error.message}", "warning")
        trial.aftermath(lambda: trial.announce(f"THE ROLLBACK STOPPED: {text}", "critical"))
        trial.aftermath(lambda: dashboard(trial.config, trial.environment))
        left = [step.name for step in self._left(trial.plan.backward) if step.needed(trial)]
        return RollbackFailed(
            f"{env}: the rollback stopped: {text}; left to do: {', '.join(left) or 'nothing'}; go on with:"
            f" rollout resume {env} (it was to undo: {reason})"
        )

    def _unexpected(self, error: Exception) -> Unexpected:
        """What nobody has thought of, in one line; where it happened is kept for whoever looks into it."""
        trial = self._trial

        def kept() -> str:
            trial.runs.mkdir(parents=True, exist_ok=True)
            with (trial.runs / "unexpected.txt").open("a") as file:
                traceback.print_exception(error, file=file)
            return ""

        trial.aftermath(kept)
        return Unexpected(f"{type(error).__name__}: {error}")

    def _end_rehearsal(self) -> RolloutRecord:
        """What was to be proven: everybody came back, and nothing was lost on the way.

        Raises:
            GateFailed: it was not so.
        """
        trial, environment = self._trial, self._trial.environment
        figures = trial.reread().figures
        harm = ("sessions_severed", "bytes_lost", "bytes_doubled", "commands_twice")
        bad = [f"{name.replace('_', ' ')}: {figures[name]}" for name in harm if figures.get(name)]
        reason = f"the rehearsal did harm: {', '.join(bad)}" if bad else unproven(environment, figures)
        if reason:
            trial.ledger.transition(trial.record.id, State.ROLLED_BACK, reason=reason)
            raise GateFailed(f"{environment.name}: {reason}")
        return trial.ledger.transition(trial.record.id, State.REHEARSED)


def unproven(environment: Environment, figures: Mapping[str, Any]) -> str:
    """Why a rehearsal with these figures does not show that nothing was lost; "" where it does.

    The load may have ended on the way, with a program that was killed or by itself.
    """
    if environment.load is None:
        return ""
    if not figures.get("bytes_verified"):
        return "the rehearsal proves nothing: its load users did not check any output"
    if unfinished := figures.get("load_unfinished"):
        users = f"{unfinished} of {figures['load_users']} load users"
        return f"the rehearsal proves nothing: {users} did not check their shells to the end"
    return ""
