"""What the steps of one rollout share: the build on trial, where, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from rollout.checks.runner import CheckResult
from rollout.config import Config, Environment
from rollout.engine import Engine
from rollout.evidence.junit import write_junit
from rollout.ledger import Lease, RolloutRecord
from rollout.notify import Severity
from rollout.observer import Observer
from rollout.pipeline.aftermath import announce, attempt
from rollout.pipeline.interrupts import Interrupts
from rollout.pipeline.judging import Judging
from rollout.pipeline.plan import Plan
from rollout.pipeline.steps import Replace, Shift, Start, Step


class Trial:
    """One rollout on one environment."""

    def __init__(
        self,
        config: Config,
        environment: Environment,
        engine: Engine,
        lease: Lease,
        observer: Observer,
        record: RolloutRecord,
        interrupts: Interrupts,
    ) -> None:
        self.config = config
        self.environment = environment
        self.engine = engine
        self.lease = lease
        self.ledger = lease.ledger
        self.observer = observer
        self.record = record
        self.interrupts = interrupts
        """What waits looks here whether somebody wants the rollout to end."""
        planned = Plan.from_dict(record.plan)
        self.plan = planned.without(environment.absent)
        pairs = zip(planned.steps, self.plan.steps, strict=True)
        self.nowhere = [step for before, step in pairs if before.hosts and not step.hosts]
        """Steps all of whose hosts are stated to be lost by now."""
        self.runs = config.runs(environment.name, record.number)
        self.shifted_at: float | None = None
        self.full_at: float | None = None
        """When the first host began to give all its traffic to the new generation: no comparison after it."""
        self.verdict_at = record.started
        self.worked = True
        """Whether what a step does besides, and must not fail for, was done: telling people, say."""
        self._remember()
        self.judging = Judging(self)

    def _remember(self) -> None:
        """What has begun, and when users were led to it first, by the journal, for a resumed rollout."""
        journal = self.ledger.journal(self.record.id)
        self._begun = {entry.step for entry in journal}
        began = [entry for entry in journal if entry.phase == "begin"]
        shifts = {step.name: step.weight for step in self.plan.forward if isinstance(step, Shift)}
        self.shifted_at = next((entry.at for entry in began if entry.step in shifts), None)
        self.full_at = next((entry.at for entry in began if shifts.get(entry.step) == 100), None)

    def shifts(self, weight: int) -> None:
        """Users are led to the generation on trial from now on."""
        if self.shifted_at is None:
            self.shifted_at = time.time()
        if self.full_at is None and weight == 100:
            self.full_at = time.time()

    def begins(self, step: Step) -> None:
        """The journal says so. Kept here as well: it counts when the ledger cannot be read any more."""
        self._begun.add(step.name)

    @property
    def past_return(self) -> bool:
        """Whether what would be gone back to has been ended, or may have been."""
        # An apply does not lead from the build before: what it ends is that of a host of its own.
        returns = self.plan.previous_generation is not None or self.plan.kind == "apply"
        return returns and any(step.final and step.name in self._begun for step in self.plan.forward)

    def reread(self) -> RolloutRecord:
        """The record as it is by now."""
        self.record = self.ledger.rollout(self.record.id)
        return self.record

    def reached(self) -> list[str]:
        """The hosts on which the build on trial was started, or may have been: the others never saw it."""
        return self._hosts_of((Start, Shift))

    def managed(self) -> list[str]:
        """The hosts whose session manager was replaced, or may have been."""
        return self._hosts_of((Replace,))

    @property
    def touched(self) -> bool:
        """Whether anything of it has come to a host."""
        return bool(self.reached() or self.managed())

    def _hosts_of(self, kinds: tuple[type[Step], ...]) -> list[str]:
        hosts: dict[str, None] = {}
        for step in self.plan.forward:
            if isinstance(step, kinds) and step.name in self._begun:
                hosts |= dict.fromkeys(step.hosts)
        return list(hosts)

    def record_checks(self, suite: str, results: Sequence[CheckResult], file: str) -> None:
        """Keep what a suite found: in the ledger, and in ``file``, for other programs."""
        self.ledger.record_checks(self.environment.name, self.record.id, results)
        about = {
            "environment": self.environment.name,
            "rollout": str(self.record.number),
            "build": self.record.build,
        }
        # A folder that cannot be written is no verdict on the build.
        self._besides(partial(write_junit, self.runs / file, suite, results, about))

    def announce(self, title: str, severity: Severity) -> str:
        """Tell those whom the environment names."""
        return announce(self.config, self.environment, self.ledger, self.record, title, severity)

    def aftermath(self, act: Callable[[], str | None]) -> str:
        """Never raises; see :mod:`rollout.pipeline.aftermath`."""
        worked, text = self._besides(act)
        self.worked = self.worked and worked
        return text

    def _besides(self, act: Callable[[], str | None]) -> tuple[bool, str]:
        worked, text = attempt(act)
        if not worked:
            self.observer.message(text, "warning")
        return worked, text
