"""Records of a monitor as it would write them, of any length, with whatever happens in between."""

from __future__ import annotations

from typing import Any

from rollout.model import MonitorLog


class Days:
    """Builds the records of one host. ``wall`` and ``clock`` are unix seconds and seconds since boot."""

    def __init__(self, wall: float, *, generation: str = "g1", interval: float = 60.0) -> None:
        self.wall = wall
        self.clock = 1000.0
        self.slept = 0.0
        self.boot = "boot-1"
        self.run = "run-1"
        self.generation = generation
        self.interval = interval
        self.records: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.judged: float | None = None
        self.judging = True

    def minutes(self, rounds: int, *, stalled: float = 0.0, **check: Any) -> Days:
        """So many rounds of checks, one interval apart; without one where the monitor ``stalled`` so long."""
        for _ in range(rounds):
            if stalled:
                self.pass_time(stalled)
                self._write("gap", seconds=stalled, reason="late", wall_jump=0.0)
                self.pass_time(-stalled)
            for profile in () if stalled else ("system", "claude"):
                self._write("check", profile=profile, **{**self._good(), **check})
            memory = check.get("memory", 20e6)
            state = {"name": self.generation, "loops": 0, "memory_bytes": memory, "attaches": 1}
            self._write("services", sessions=3, generations=[state], error="")
            if self.judging:
                self.judged = self.wall
            self.pass_time(self.interval)
        return self

    def blind(self, seconds: float, reason: str = "late") -> Days:
        """The monitor tells that it saw nothing for so long, until now."""
        self.pass_time(seconds)
        self._write("gap", seconds=seconds, reason=reason, wall_jump=0.0)
        return self

    def pass_time(self, seconds: float) -> Days:
        """Nothing is recorded for so long."""
        self.wall += seconds
        self.clock += seconds
        return self

    def set_clock(self, seconds: float) -> Days:
        """The wall clock is set, and no time has passed."""
        self.wall += seconds
        return self

    def sleep(self, seconds: float) -> Days:
        """The machine is suspended."""
        self.wall += seconds
        self.slept += seconds
        return self

    def restart(self) -> Days:
        """The monitor is started anew."""
        self.run += "'"
        return self

    def reboot(self) -> Days:
        """The machine is."""
        self.boot, self.clock, self.slept = self.boot + "'", 5.0, 0.0
        return self.restart()

    @property
    def log(self) -> MonitorLog:
        """What the engine would give."""
        return MonitorLog(tuple(self.records), tuple(self.alerts), judged=self.judged)

    def _good(self) -> dict[str, Any]:
        figures = {"connect_ms": 2.4, "attach_ms": 1.0, "command_ms": 3.0, "reconnect_ms": 2.6}
        told = {"ok": True, "acknowledged": True, "resumed": True, "error": ""}
        return {"generation": self.generation, "build": "1-abc", **figures, **told}

    def _write(self, kind: str, **fields: Any) -> None:
        times = {"at": self.wall, "monotonic": self.clock, "boottime": self.clock + self.slept}
        common = {"version": 1, "seq": len(self.records), "run": self.run, "boot": self.boot}
        self.records.append({**common, **times, "interval": self.interval, "kind": kind, **fields})
