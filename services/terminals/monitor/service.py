"""The monitor's loop: a round of checks at each moment of a grid in time, and what it leaves on disk."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from msgspec import Raw

from terminals.control.answers import MonitorInfo, Status
from terminals.control.asking import ControlError
from terminals.monitor import clock as clocks
from terminals.monitor import summary
from terminals.monitor.alerts import Alert, Alerts, judge, key_of
from terminals.monitor.bell import Bell
from terminals.monitor.check import Check, Stopped, failed, mark_of
from terminals.monitor.clock import Clock, Gap, Reading
from terminals.monitor.config import DAY, Door, MonitorConfig
from terminals.monitor.figures import ask, begun, figures, sweep, tell
from terminals.monitor.files import ALERTS, METRICS, keep_newest, write_json
from terminals.monitor.journal import Journal, read_records
from terminals.monitor.notify import Notifier
from terminals.monitor.past import recall
from terminals.monitor.records import NOT_MADE, Record, Writer
from terminals.monitor.takeback import consider
from terminals.parts import own_code

log = logging.getLogger("terminals.monitor")

REPORT: Final = "hourly-report-{}.json"
TICK: Final = 0.5
"""Seconds between two looks at the clocks: what stands still for longer notices by that."""
LEAVE_SECONDS: Final = 1.0
"""A check that is cut short by the monitor's end has so long to end its session."""


class Monitor:
    """Checks until :meth:`stop`. ``clock`` is read for everything that is recorded."""

    def __init__(self, config: MonitorConfig, *, build: str = "", clock: Clock | None = None) -> None:
        """Take the directory, and remember the last day from what is in it.

        Raises:
            ConfigError: another monitor has it, or it cannot be written.
        """
        self.config = config
        self._clock = clock or Clock()
        self._journal = Journal(config.directory, config.keep)
        self._writer = Writer(secrets.token_hex(4), config.every)
        self._profiles = [door.profile for door in config.doors]
        self._mark = mark_of(config.host, config.directory)
        self._bell = Bell()
        self._stopping = False
        self._allowed = clocks.allowed(config.every)
        self._stalled = 0.0
        self._unwritten: Reading | None = None
        self._lost: list[tuple[Gap, Reading]] = []
        place = " ".join(filter(None, (config.environment, config.host)))
        self._notifier = Notifier(config.notify, place)
        self._last = now = self._clock.read()
        self._about = MonitorInfo(
            build=build,
            code=own_code("monitor"),
            settings=config.digest,
            configured=Raw(config.shown.encode()),
            started=now.wall,
        )
        records, self._damaged = read_records(config.directory, now, DAY)
        self._history, self._alerts = recall(config, records, now)
        if records:
            last = records[-1]
            self._lost.append((clocks.since_last(last["at"], last["boottime"], last["boot"], now), now))

    def wake_by(self) -> int:
        """A descriptor for :func:`signal.set_wakeup_fd`."""
        return self._bell.fileno()

    def stop(self) -> None:
        """End soon, in the middle of a check too. May be called by a signal handler and by any thread."""
        self._stopping = True
        self._bell.ring()

    def run(self) -> None:
        """Check until told to stop."""
        # What a restart is, is known even if this is killed before its first round is over.
        self._write([])
        self._publish(self._last)
        self._aside(self._sweep)
        due = origin = self._last.boottime
        log.info("checking %s every %g s", ", ".join(self._profiles), self.config.every)
        try:
            while not self._stopping:
                self._look()
                if self._last.boottime < due:
                    self._bell.wait(min(due - self._last.boottime, TICK))
                    self._hear()
                    continue
                self._round()
                due = clocks.next_due(origin, self.config.every, self._clock.read().boottime)
        finally:
            self._journal.close()
            log.info("stopped")

    # --- time -------------------------------------------------------------------------

    def _look(self) -> None:
        """Read the clocks: whatever is between this and the last time and should not be, is a gap."""
        now = self._clock.read()
        self._stalled = max(self._stalled, now.boottime - self._last.boottime)
        if (gap := clocks.between(self._last, now, self._allowed)) is not None:
            log.warning("%s", _words(gap))
            self._lost.append((gap, now))
        self._last = now

    def _aside(self, *tasks: Callable[[], None]) -> bool:
        """Do things side by side while the clocks are watched. Returns whether all were done: not when the
        monitor is to stop, which waits for nobody."""
        threads = [threading.Thread(target=self._then_ring, args=(task,), daemon=True) for task in tasks]
        for thread in threads:
            thread.start()
        while not self._stopping and any(thread.is_alive() for thread in threads):
            self._bell.wait(TICK)
            self._look()
        end = time.monotonic() + LEAVE_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not self._stopping

    def _then_ring(self, task: Callable[[], None]) -> None:
        try:
            task()
        finally:
            self._bell.ring()

    # --- one round --------------------------------------------------------------------

    def _round(self) -> None:
        started, self._stalled = self._last, 0.0
        said: list[tuple[Status | None, str]] = []
        token, problem = self._token()
        if not self._aside(lambda: said.append(self._ask(token))):
            return
        status = said[0]
        outcomes: list[dict[str, Any]] = []
        if problem:
            outcomes = [failed(profile, problem, NOT_MADE) for profile in self._profiles]
        elif begun(status[0]) and not self._aside(
            *(partial(self._check, door, token, outcomes) for door in self.config.doors)
        ):
            sweep(self.config, self._mark, timeout=LEAVE_SECONDS)
            return
        self._look()
        if self._stalled > clocks.STALL and outcomes:
            # It was this process that stood still: what it missed, or took long for, is not the service's.
            log.warning("stood still for %.1f s during a check: its result does not count", self._stalled)
            if not any(seen.boottime > started.boottime for _, seen in self._lost):
                self._lost.append((Gap(self._stalled, "late"), self._last))
            outcomes = []
        outcomes.sort(key=lambda outcome: self._profiles.index(outcome["profile"]))
        records = [self._writer.make("check", started, **outcome) for outcome in outcomes]
        self._write([*records, self._writer.make("services", started, **figures(*status))])
        self._judge()
        self._publish(started)
        if self.config.mark is not None:
            self._aside(self._consider)
        # Every time: also a check that went well may have lost the service while it said goodbye.
        self._aside(self._sweep)

    def _consider(self) -> None:
        config, now = self.config, self._last.wall
        assert config.mark is not None and config.socket is not None
        try:
            done = consider(config.socket, config.mark, self._alerts.active, now)
        except (ControlError, OSError) as error:
            log.error("a bad build could not be taken back: %s", error)
            return
        if done is not None:
            way, reason = done
            log.warning("taken back: %s -> %s: %s", way.from_generation, way.to_generation, reason)

    def _ask(self, token: str) -> tuple[Status | None, str]:
        try:
            found = ask(self.config, token)
            tell(self.config, found, self._about)
            return found, ""
        except ControlError as error:
            return None, str(error)
        except Exception as error:  # else nothing would be checked any more
            log.exception("the services could not be asked")
            return None, repr(error)

    def _sweep(self) -> None:
        sweep(self.config, self._mark)

    def _token(self) -> tuple[str, str]:
        path = self.config.token_file
        try:
            token = path.read_text().strip() if path else ""
        except OSError as error:
            return "", f"{path}: {error.strerror}"
        return token, "" if token else f"{path or 'token_file'}: there is no token to present"

    def _check(self, door: Door, token: str, outcomes: list[dict[str, Any]]) -> None:
        config = self.config
        check = Check(
            door,
            token,
            mark=self._mark,
            timeout=config.timeout,
            settle=config.settle,
            ca=config.ca,
            stop=lambda: self._stopping,
        )
        with contextlib.suppress(Stopped):
            check.run()
            outcomes.append(check.outcome)

    # --- what is left -----------------------------------------------------------------

    def _write(self, records: list[Record]) -> None:
        """Append records, gaps first. A disk that takes none is said once, and is a gap afterwards."""
        now, lost = self._last, list(self._lost)
        if self._unwritten is not None:
            lost.append((Gap(now.boottime - self._unwritten.boottime, "disk"), now))
        gaps = [self._writer.gap(gap, seen) for gap, seen in lost]
        if not (gaps or records):
            return
        try:
            self._journal.append([*gaps, *records])
        except OSError as error:
            self._history.add(records, now)  # nobody reads them again, but alerts go by them
            if self._unwritten is None:
                log.error("%s: %s; no record is kept until that is over", self.config.directory, error)
                self._unwritten = now
            return
        if self._unwritten is not None:
            log.warning("%s can be written again", self.config.directory)
        self._history.add([*gaps, *records], now)
        self._unwritten, self._lost = None, []

    def _judge(self) -> None:
        now = self._last
        changed = judge(
            self.config.alerts,
            self._profiles,
            self._history,
            self._alerts,
            at=now.wall,
            host=self.config.host,
        )
        for alert in changed.raised:
            log.warning("%s: %s: %s", alert["severity"], alert["rule"], alert["text"])
        for alert in changed.resolved:
            log.info("resolved: %s: %s", alert["rule"], alert["text"])
        self._notifier.update(changed, now=now.monotonic)
        self._alerts = changed

    def _hear(self) -> None:
        """Note who has been told of what."""
        if told := self._notifier.told(now=self._last.monotonic):
            self._alerts = _told(self._alerts, told)
            self._publish(self._last)

    def _publish(self, started: Reading) -> None:
        """Replace the files that say how things are. ``started``: when the round began, maybe an hour ago."""
        config, directory, now = self.config, self.config.directory, self._last
        try:
            write_json(
                directory / METRICS,
                summary.metrics(
                    self._history,
                    self._profiles,
                    now,
                    host=config.host,
                    run=self._writer.run,
                    every=config.every,
                    damaged=self._damaged,
                ),
            )
            write_json(
                directory / ALERTS,
                {
                    "version": summary.VERSION,
                    "updated": round(now.wall, 3),
                    "active": list(self._alerts.active),
                    "history": list(self._alerts.history),
                },
            )
            hours = {summary.hour_of(moment): moment for moment in (started.wall, now.wall)}
            for hour, moment in hours.items():
                path = directory / REPORT.format(hour)
                new = not path.exists()
                write_json(path, summary.hourly(self._history, self._profiles, moment, now, host=config.host))
                if new:
                    keep_newest(directory, REPORT.format("*"), max(1, -(-int(config.keep) // 3600)) + 1)
        except OSError as error:
            if self._unwritten is None:  # else it has been said
                log.error("%s: %s", directory, error)


def _told(alerts: Alerts, told: list[tuple[tuple[object, ...], str]]) -> Alerts:
    """The alerts, with the names of those who have been told of them."""

    def with_names(alert: Alert) -> Alert:
        key = (*key_of(alert), alert["since"])
        names = [name for of, name in told if of == key and name not in alert["notified"]]
        return {**alert, "notified": [*alert["notified"], *names]} if names else alert

    return replace(
        alerts,
        active=tuple(with_names(alert) for alert in alerts.active),
        history=tuple(with_names(alert) for alert in alerts.history),
    )


def _words(gap: Gap) -> str:
    jump = f"the wall clock was set by {gap.wall_jump:+.1f} s" if gap.wall_jump else ""
    blind = f"nothing was seen for {gap.seconds:.1f} s: {gap.reason}" if gap.seconds else ""
    return "; ".join(filter(None, (blind, jump)))
