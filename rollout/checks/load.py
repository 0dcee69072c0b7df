"""A Locust run beside a rollout: started, read while it goes on, stopped."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import loadtests
from rollout.checks.runner import Target
from rollout.errors import EngineError

STOP_SECONDS = 45.0
READY_SECONDS = 60.0
LOOK_SECONDS = 2.0
NONE = ""
"""The generation of a sample of somebody whom none serves: told to come back, and not there yet."""
LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class LoadSummary:
    """Samples of one window, added up. Latencies in milliseconds, sizes in bytes.

    ``successes`` of ``requests`` connects, reconnections and commands were good, ``kept`` of
    ``reconnections`` reconnections stayed; ``verified`` output bytes were checked.
    """

    users: int = 0
    requests: int = 0
    successes: int = 0
    reconnections: int = 0
    kept: int = 0
    planned: int = 0
    connect_ms: list[float] = field(default_factory=list)
    reconnect_ms: list[float] = field(default_factory=list)
    away_ms: list[float] = field(default_factory=list)
    """From the loss of a connection to being attached again, waits included."""
    command_ms: list[float] = field(default_factory=list)
    verified: int = 0
    commands: int = 0
    loops: int = 0
    lost: int = 0
    doubled: int = 0
    twice: int = 0
    errors: list[str] = field(default_factory=list)
    shells_kept: int = 0
    shells_lost: int = 0
    finished: set[int] = field(default_factory=set)
    """Users who have verified their shells to the end."""

    @property
    def unfinished(self) -> int:
        """Users who have not verified their shells to the end."""
        return self.users - len(self.finished)

    @classmethod
    def of(cls, samples: Iterable[dict[str, Any]]) -> LoadSummary:
        """Add up samples (see :mod:`loadtests.terminal` for their fields)."""
        summary = cls()
        users = set()
        for sample in samples:
            users.add(sample["user"])
            summary._add(sample)
        summary.users = len(users)
        return summary

    def _add(self, sample: dict[str, Any]) -> None:
        ok = bool(sample["ok"])
        match sample["kind"]:
            case "connect" | "reconnect" | "command" as kind:
                self.requests += 1
                self.successes += ok
                if kind == "reconnect":
                    self.reconnections += 1
                    self.kept += ok
                    self.planned += bool(sample.get("planned"))
                    self.away_ms.append(float(sample["away"]) * 1000)
                elif kind == "command":
                    self.commands += 1
                getattr(self, f"{kind}_ms").append(float(sample["ms"]))
            case "attempt" | "error":
                self.requests += 1
                self.errors.append(str(sample.get("error", "")))
            case "loop":
                self.loops += 1
            case "verify" | "final" as kind:
                if kind == "final":
                    self.finished.add(int(sample["user"]))
                self.verified += int(sample["n"])
                self.lost += int(sample["lost"])
                self.doubled += int(sample["doubled"])
                self.twice += int(sample["twice"])
            case "shell":
                self.shells_kept += ok
                self.shells_lost += not ok


class LoadRun:
    """Locust users in live shells, spread evenly over hosts. Samples and log are kept in ``directory``.

    With more ``processes`` than one these are Locust's workers, and one more leads them.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        users: int,
        spawn_rate: float,
        cut_every: float,
        directory: Path,
        processes: int = 1,
        run_seconds: float | None = None,
    ) -> None:
        self._targets = list(targets)
        self.users = users
        self._spawn_rate = spawn_rate
        self._cut_every = cut_every
        self._run_seconds = run_seconds
        self._workers = processes if processes > 1 else 0
        self._directory = directory
        self.samples_path = directory / "samples.jsonl"
        self.log = directory / "locust.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        """The one that leads, and then the workers, where there are any."""
        self._doors_file: str | None = None
        self._offset = 0
        self._samples: list[dict[str, Any]] = []
        self._looked = 0.0
        self.quiet = 0.0
        """Seconds for which looks at the samples have found none that is new."""

    def start(self) -> None:
        """Start Locust. It ends with this process, however that ends."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # In a file, because a command line is public and the doors have tokens.
        descriptor, self._doors_file = tempfile.mkstemp(prefix="rollout-doors-")
        doors = [
            {
                "host": target.host,
                "url": target.terminals["system"],
                "token": target.token,
                "ca": target.ca,
            }
            for target in self._targets
        ]
        with os.fdopen(descriptor, "w") as file:
            json.dump(doors, file)
        if not self._workers:
            self._spawn(*self._orders(), *self._what())
            return
        port = str(_free_port())
        lead = ["--master", "--master-bind-host", LOOPBACK, "--master-bind-port", port]
        lead += ["--expect-workers", str(self._workers), "--expect-workers-max-wait", f"{READY_SECONDS:.0f}"]
        self._spawn(*self._orders(), *self._what(), *lead)
        for _ in range(self._workers):
            follow = ["--worker", "--master-host", LOOPBACK, "--master-port", port]
            self._spawn(*self._what(), *follow)

    def _orders(self) -> list[str]:
        """What whoever leads has to know."""
        orders = ["--headless", "--only-summary", "--users", str(self.users)]
        orders += ["--spawn-rate", str(self._spawn_rate), "--stop-timeout", f"{STOP_SECONDS:.0f}"]
        return orders if self._run_seconds is None else [*orders, "--run-time", f"{self._run_seconds:.0f}s"]

    def _what(self) -> list[str]:
        assert self._doors_file is not None
        what = ["--doors-file", self._doors_file, "--samples", str(self.samples_path)]
        what += ["--cut-every", str(self._cut_every)]
        # Of everybody's own options, those of whoever leads count.
        return [*what, "--share", str(self._workers)] if self._workers else what

    def _spawn(self, *words: str) -> None:
        locustfile = Path(next(iter(loadtests.__path__))) / "terminal.py"
        path = os.pathsep.join(p for p in [str(locustfile.parent.parent), os.environ.get("PYTHONPATH")] if p)
        with self.log.open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "locust", "-f", str(locustfile), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PYTHONPATH": path},
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
            )

    @property
    def running(self) -> bool:
        """Whether Locust is still there, all of it: with a worker its users go."""
        return bool(self._processes) and all(process.poll() is None for process in self._processes)

    def wait_ready(self, timeout: float, look: Callable[[], None] = lambda: None) -> None:
        """Wait until every user is in its shell and has had a command answered; ``look`` may end it.

        Raises:
            EngineError: Locust ended, or not all were there in time.
        """
        end = time.monotonic() + timeout
        while True:
            look()
            there = {sample["user"] for sample in self.samples() if sample["kind"] == "command"}
            if len(there) >= self.users:
                return
            if not self.running:
                raise EngineError(f"the load run ended before it began: {self._last_words()}")
            if time.monotonic() > end:
                raise EngineError(
                    f"{len(there)} of {self.users} load users were in their shells after {timeout:.0f} s;"
                    f" see {self.log}"
                )
            time.sleep(0.1)

    def samples(self) -> list[dict[str, Any]]:
        """All samples so far."""
        before = self._offset
        with contextlib.suppress(OSError), self.samples_path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._samples.append(json.loads(line))
        now = time.monotonic()
        # Not the time in which nobody looked: this process, and Locust with it, may have stood still.
        self.quiet = self.quiet + min(now - self._looked, LOOK_SECONDS) if self._offset == before else 0.0
        self._looked = now
        return self._samples

    def summary(
        self,
        since: float = 0.0,
        until: float = float("inf"),
        generation: str | None = None,
        *,
        coming: bool = True,
    ) -> LoadSummary:
        """What the window from ``since`` to ``until`` (Unix seconds) shows, of one generation or all; with
        what those have met that were on their way to it, if they are ``coming``."""
        return LoadSummary.of(
            sample
            for sample in self.samples()
            if since <= sample["t"] < until and _is_of(sample, generation, coming)
        )

    def parts(
        self, of: Mapping[str, str], since: float = 0.0, generation: str | None = None
    ) -> dict[str, LoadSummary]:
        """The window from ``since`` on part by part: ``of`` says which part a host belongs to. One without
        samples is there, too; hosts that are not in ``of`` are left out."""
        found: dict[str, list[dict[str, Any]]] = {part: [] for part in of.values()}
        for sample in self.samples():
            if since <= sample["t"] and _is_of(sample, generation) and sample["host"] in of:
                found[of[sample["host"]]].append(sample)
        return {part: LoadSummary.of(samples) for part, samples in found.items()}

    def wait(self, timeout: float) -> LoadSummary:
        """Wait for a run with ``run_seconds`` to end by itself.

        Raises:
            EngineError: it did not end in time.
        """
        assert self._processes
        try:
            self._wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise EngineError(f"the load run did not end within {timeout:.0f} s") from None
        finally:
            self._clean()
        return self.summary()

    def stop(self) -> LoadSummary:
        """Let every user finish, verify and leave; returns the summary of the whole run."""
        if self._processes:
            # Whoever leads tells the workers, and does not wait for them.
            if self._processes[0].poll() is None:
                self._processes[0].send_signal(signal.SIGTERM)
            else:
                for worker in self._processes[1:]:
                    worker.send_signal(signal.SIGTERM)
            try:
                self._wait(STOP_SECONDS + 15)
            except subprocess.TimeoutExpired:
                for process in self._processes:
                    process.kill()
                    process.wait()
        self._clean()
        return self.summary()

    def _wait(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        for process in self._processes:
            process.wait(max(0.0, end - time.monotonic()))

    def _clean(self) -> None:
        if self._doors_file is not None:
            Path(self._doors_file).unlink(missing_ok=True)
            self._doors_file = None

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return " / ".join(lines[-3:]) or "it printed nothing"
        return "it left no log"


def _is_of(sample: Mapping[str, Any], generation: str | None, coming: bool = True) -> bool:
    return generation is None or sample["generation"] in ((generation, NONE) if coming else (generation,))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])


def _end_with_parent() -> None:
    """In the child, before exec: a killed ``rollout`` must not leave load behind.

    The signal comes when the *thread* that started the child ends (prctl(2)), so a run is
    started from the thread that carries the rollout.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
