"""A real monitor of a stack, the schemas of what it writes, and records made by hand for the pure parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from terminals.monitor.clock import Reading
from terminals.monitor.records import Record, Writer

from tests.support.stack import TERMINALS, TOKEN, Stack

BOOT = "b0"
USUAL = [
    {
        "name": "system-terminal-down",
        "severity": "critical",
        "metric": "up",
        "op": "==",
        "threshold": 0,
        "profile": "system",
        "for": 0,
    }
]


@cache
def schema(name: str) -> Draft202012Validator:
    """The validator of one of the schemas that come along."""
    text = files("terminals.monitor").joinpath("schema", f"{name}.json").read_text()
    found = json.loads(text)
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def validate(directory: Path) -> list[Record]:
    """Hold everything that a monitor has written against the schemas; gives its whole lines."""
    for path in directory.glob("deployment-*.json"):
        schema(path.stem).validate(json.loads(path.read_text()))
    for path in directory.glob("hourly-report-*.json"):
        schema("hourly-report").validate(json.loads(path.read_text()))
    return lines(directory)


def lines(directory: Path) -> list[Record]:
    """The records on disk, each held against its schema. A last line without an end is left out."""
    found = []
    for path in sorted(directory.glob("checks-*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            record = json.loads(line)
            schema("checks").validate(record)
            found.append(record)
    return found


class Monitored:
    """A stack with a monitor that runs as a process of its own."""

    def __init__(self, stack: Stack, **settings: Any) -> None:
        self.stack = stack
        self.directory = stack.root / "monitor"
        self._path = stack.root / "monitor.json"
        self.settings: dict[str, Any] = {
            "directory": str(self.directory),
            "host": "here",
            "socket": stack.socket,
            "token_file": str(stack.root / "token"),
            "profiles": {name: {"url": stack.url(name)} for name in ("system", "claude")},
            "every": 0.5,
            "timeout": 5,
            "settle": 0,
            "alerts": USUAL,
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def config(self, **settings: Any) -> Path:
        """The configuration file, with changes."""
        assert TOKEN
        self._path.write_text(json.dumps({**self.settings, **settings}))
        return self._path

    def start(self, *before: str, **settings: Any) -> None:
        """Start it, by ``before`` if anything is to come before the command."""
        command = [*before, *TERMINALS, "monitor", "--config", str(self.config(**settings))]
        with (self.stack.root / "monitor.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(20)
        self.process = None
        return status

    def checks(self, **wanted: Any) -> list[Record]:
        """Records of checks on disk with these values."""
        return [record for record in lines(self.directory) if _is(record, kind="check", **wanted)]

    def gaps(self, **wanted: Any) -> list[Record]:
        return [record for record in lines(self.directory) if _is(record, kind="gap", **wanted)]

    def alerts(self) -> dict[str, Any]:
        path = self.directory / "deployment-alerts.json"
        return json.loads(path.read_text()) if path.exists() else {"active": [], "history": []}

    def log(self) -> str:
        return (self.stack.root / "monitor.log").read_text()

    def left(self) -> list[str]:
        """Live sessions on the stack."""
        return [entry["id"] for entry in self.stack.admin("sessions")["items"] if entry["live"]]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _is(record: Record, **wanted: Any) -> bool:
    return all(record.get(name) == value for name, value in wanted.items())


def reading(at: float, *, wall: float = 0.0, asleep: float = 0.0, boot: str = BOOT) -> Reading:
    """All clocks at ``at`` seconds after the boot; ``wall``: what the wall clock is ahead of that."""
    return Reading(1_700_000_000.0 + at + wall, at, at - asleep, boot)


class Maker:
    """Makes records as a monitor would, at moments given in seconds after the boot."""

    def __init__(self, interval: float = 60.0, run: str = "0000000a") -> None:
        self.writer = Writer(run, interval)

    def check(self, at: float, profile: str = "system", *, ok: bool = True, **fields: Any) -> Record:
        where = fields.pop("reading", None) or reading(at)
        usual = {
            "profile": profile,
            "ok": ok,
            "generation": "g1",
            "build": "b1",
            "connect_ms": 2.0,
            "attach_ms": 3.0,
            "command_ms": 4.0,
            "reconnect_ms": 5.0,
            "acknowledged": ok,
            "resumed": ok,
            "error": "" if ok else "not attached within 20 s",
        }
        return self.writer.make("check", where, **usual | fields)

    def services(self, at: float, *, silent: bool = False, **counts: dict[str, int]) -> Record:
        """Figures of generations, by name: ``g1={"loops": 1}``."""
        usual = {
            "build": "b1",
            "weight": 100,
            "connections": 1,
            "attaches": 10,
            "short_lived": 0,
            "loops": 0,
            "breaker_opened": 0,
            "memory_bytes": 20_000_000,
        }
        generations = [{"name": name, **usual, **fields} for name, fields in counts.items()]
        return self.writer.make(
            "services",
            reading(at),
            sessions=None if silent else 1,
            connections=None if silent else 1,
            generations=None if silent else generations,
            memory_bytes=None if silent else max((one["memory_bytes"] for one in generations), default=0),
            error="the manager did not answer" if silent else "",
        )
