"""What follows a rollback: people are told, the dashboard is brought up to date, the incident is filed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rollout.notify import Severity
from rollout.pipeline.aftermath import dashboard, incident
from rollout.pipeline.steps.base import Step

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Tell(Step):
    """Those are told whom the environment names."""

    kind = "rollback-tell"
    records = ("communicate",)

    def run(self, trial: Trial) -> str:
        trial.aftermath(trial.judging.finish_load)
        record = trial.reread()
        back_to = record.previous_build or "nothing: there was no earlier build"
        titles = {
            "rehearsal": f"the way back was rehearsed with {record.build}",
            "rollback": f"back on {record.build}",
        }
        title = titles.get(record.kind, f"{record.build} was taken back; serving: {back_to}")
        severity: Severity = "info" if record.kind == "rehearsal" else "critical"
        return trial.aftermath(lambda: trial.announce(title, severity))

    def needed(self, trial: Trial) -> bool:
        return trial.touched


@dataclass(frozen=True, kw_only=True)
class Show(Step):
    """The environment's page is written anew."""

    kind = "rollback-show"
    records = ("dashboard",)

    def run(self, trial: Trial) -> str:
        return trial.aftermath(lambda: dashboard(trial.config, trial.environment))

    def needed(self, trial: Trial) -> bool:
        return trial.touched


@dataclass(frozen=True, kw_only=True)
class FileIncident(Step):
    """What happened is written down, with the figures, where people will look for it."""

    kind = "rollback-record"
    records = ("incident",)

    def run(self, trial: Trial) -> str:
        trial.aftermath(trial.judging.finish_load)
        record = trial.reread()
        name = "rehearsal.md" if record.kind == "rehearsal" else "incident.md"
        return trial.aftermath(lambda: incident(trial.runs / name, record, trial.ledger))
