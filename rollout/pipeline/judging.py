"""What is observed of a build on trial, and judged while it is: load, evidence, gates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from rollout.checks.load import LoadRun
from rollout.config import Gate
from rollout.errors import EngineError
from rollout.evidence import from_comparison, from_generation, from_load, from_parts
from rollout.gates import Watch, deciding, evaluate_all
from rollout.model import Evidence, GateResult, Verdict, worst
from rollout.pipeline.silence import statuses_of
from rollout.pipeline.sources import Sources

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial

LOAD_READY_SECONDS = 90.0
QUIET_SECONDS = 60.0
"""Each load user tells of itself every second, but for an attempt to come back that nobody answers."""
POLL = 1.0


class NotPassed(Exception):
    """The verdict is not a pass. Carries what the gates said."""

    def __init__(self, results: Sequence[GateResult], at: float | None = None) -> None:
        self.at = at
        """When it was given, in Unix seconds."""
        counting = deciding(results)
        self.verdict = worst(result.verdict for result in counting)
        # Where one fails, those that had too little to go by yet are not why it is taken back.
        bad = [result for result in counting if result.verdict in (Verdict.FAIL, Verdict.ERROR)]
        bad = bad or [result for result in counting if result.verdict is not Verdict.PASS]
        self.reasons = [result.reason for result in bad]
        super().__init__("; ".join(self.reasons) or "no gate gave a verdict")


def verdict_of(results: Sequence[GateResult]) -> Verdict:
    """The verdict on a step: a pass where no gate decides anything there."""
    counting = deciding(results)
    return worst(result.verdict for result in counting) if counting else Verdict.PASS


class Judging:
    """The load on one rollout's generation, the evidence so far, and its gates."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        environment, plan = trial.environment, trial.plan
        self._load: LoadRun | None = None
        self._load_finished = False
        self._missing = 0
        """Users who have not verified their shells to the end."""
        self.ready_at = 0.0
        """When all load users were in their shells: so many coming at once is no figure of the build's."""
        first = plan.previous_generation is None
        self.all_gates = [gate for gate in environment.gates if not (first and gate.compare == "baseline")]
        """The first build has nothing to be compared with; all that is asked of it alone still is."""
        self.seen: dict[str, dict[str, Any] | None] = {}
        """What the session managers have said last."""
        self.found: list[Evidence] = []
        """Evidence of checks."""
        self.of_hosts: Callable[[], Sequence[Evidence]] = tuple
        """What the load says of each host by itself, where a gate fails: it takes as long as the rest."""
        self._sources = Sources(
            trial.config,
            environment,
            trial.engine,
            generation=plan.generation,
            previous=plan.previous_generation,
        )

    # --- load -----------------------------------------------------------------------------

    @property
    def loaded(self) -> bool:
        """Whether there is, or was, load in this run of the program."""
        return self._load is not None

    def start_load(self) -> str:
        """Have the load users in their shells, where the environment has any.

        Raises:
            EngineError: they are not.
        """
        settings = self._trial.environment.load
        if settings is None or self._load is not None:
            return ""
        self._load = LoadRun(
            self._trial.engine.targets(),
            users=settings.users,
            spawn_rate=settings.spawn_rate,
            cut_every=settings.cut_every,
            processes=settings.processes,
            directory=self._trial.runs / f"load-{time.time_ns()}",
        )
        self._load.start()
        self._load.wait_ready(LOAD_READY_SECONDS, self._trial.interrupts.check)
        self.ready_at = time.time()
        return f"{settings.users} users in their shells"

    def finish_load(self) -> None:
        """Have every load user verify its shell to the end, and record what they found."""
        if self._load is None or self._load_finished:
            return
        self._load_finished = True
        summary = self._load.stop()
        self._missing = summary.unfinished
        self._trial.ledger.add_figures(
            self._trial.record.id,
            load_users=summary.users,
            load_unfinished=self._missing,
            load_reconnections=summary.reconnections,
            load_loops=summary.loops,
            bytes_verified=summary.verified,
            bytes_lost=summary.lost,
            bytes_doubled=summary.doubled,
            commands_twice=summary.twice,
        )

    def check_load(self) -> None:
        """See to it that the load users are still at work, or have been to their end, where there are any.

        Raises:
            EngineError: the load has ended by itself, or tells nothing any more.
        """
        if self._load is None:
            return
        if self._load_finished:
            if self._missing:
                raise EngineError(
                    f"{self._missing} of {self._load.users} load users did not verify their shells to the"
                    f" end; see {self._load.log}"
                )
        elif not self._load.running:
            raise EngineError("the load run has ended by itself; its evidence is not complete")
        elif self._load.quiet > QUIET_SECONDS:
            raise EngineError(
                f"the load users have written nothing for {self._load.quiet:.0f} s: is the disk full?"
                f" see {self._load.log}"
            )

    def stop(self) -> None:
        """End the load, however the rollout ended."""
        if self._load is not None:
            self._load.stop()

    # --- evidence and gates -----------------------------------------------------------------

    def gates(self, *when: str) -> list[Gate]:
        """Those that judge at one of these times."""
        return [gate for gate in self.all_gates if gate.on in when]

    def observe(self, *, patient: bool = False) -> list[Evidence]:
        """Everything known about the new generation since the first shift of this rollout.

        ``patient``: all depends on this one look, and session managers are waited for.

        Raises:
            EngineError: the load has ended by itself.
        """
        trial = self._trial
        window = (trial.shifted_at or trial.record.started, time.time())
        self.seen = statuses_of(trial.engine, trial.reached() if patient else ())
        found = from_generation(self.seen, trial.plan.generation, window, trial.reached())
        if self._load is not None:
            found += self.of_load(self._load, window)
            self.check_load()
        return found + self._sources.evidence(window[0], trial.full_at)

    def of_load(self, load: LoadRun, window: tuple[float, float]) -> list[Evidence]:
        """What the load says since the first shift and its own ramp-up, in the windows of the gates, and
        beside the baseline."""
        start, end = max(window[0], self.ready_at), window[1]
        window = (start, end)
        trial = self._trial
        plan, full = trial.plan, trial.full_at
        new, old = plan.generation, plan.previous_generation
        lasting = {gate.window for gate in self.all_gates if gate.window is not None}
        since: dict[float | None, float] = {None: start}
        since |= {seconds: max(start, end - seconds) for seconds in lasting}
        found: list[Evidence] = []
        for only, at in since.items():
            alone = load.summary(at, generation=new)
            found += from_load(load.summary(at), alone, (at, end), new, only=only)

        def parts(by: Literal["host", "region"]) -> list[Evidence]:
            # Of those that have the new generation by now.
            of = trial.environment.parts(by, trial.reached())
            return [
                piece
                for only, at in since.items()
                for piece in from_parts(load, by, of, (at, end), new, only=only)
            ]

        asked = {gate.each for gate in self.all_gates if gate.each != "all"}
        for by in asked:
            found += parts(by)
        self.of_hosts = tuple if "host" in asked else partial(parts, "host")
        if old is not None and any(gate.compare == "baseline" for gate in self.all_gates):
            until = end if full is None else max(start, full)
            there, beside = load.summary(start, until, new), load.summary(start, until, old, coming=False)
            found += from_comparison(there, beside, (start, until), new, old)
        return found

    def with_earlier(self, results: Sequence[GateResult]) -> list[GateResult]:
        """Results of all gates, with what was said when both generations served in the place of those that
        compare the load: after a resume there is none of that time in this run of the program."""
        trial = self._trial
        if trial.full_at is None or self.ready_at <= trial.full_at:
            return list(results)
        comparing = {
            gate.name for gate in self.all_gates if gate.compare == "baseline" and gate.about.source == "load"
        }
        said = {result.gate: result for _, result in trial.ledger.verdicts(trial.record.id)}
        return [said.get(result.gate, result) if result.gate in comparing else result for result in results]

    def watch(
        self, gates: Sequence[Gate], hold: float, *, last: bool = True
    ) -> tuple[list[GateResult], list[Evidence]]:
        """Judge ``gates`` each second for ``hold`` seconds.

        A fail ends it at once; without a pass it goes on for ``max_hold``, for more evidence. When the
        ``last`` step may pass: :class:`rollout.gates.Watch`.
        """
        trial = self._trial
        if trial.environment.load is not None and self._load is None:
            self.start_load()  # after a resume
        started = time.monotonic()
        # The wait before the last judgement is one more than the plan's steps.
        steps = 1 + sum(step.kind == "watch" for step in trial.plan.forward)
        watch = Watch(hold, trial.environment.max_hold, steps=steps, last=last, poll=POLL)
        while True:
            trial.interrupts.check()
            elapsed = time.monotonic() - started
            watch.tick(elapsed)
            evidence = self.observe()
            results = evaluate_all(gates, evidence, time.time(), watch.look, self.of_hosts)
            verdict = verdict_of(results)
            passed = elapsed >= hold and verdict is Verdict.PASS
            if passed or verdict in (Verdict.FAIL, Verdict.ERROR) or elapsed >= watch.limit:
                return results, evidence
            trial.observer.gate_results(results, False)
            trial.lease.check()
            time.sleep(POLL)
