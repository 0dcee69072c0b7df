# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""An environment as supervised processes below one directory: what the modules ``process_...`` do."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import shutil
import string
import time
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.terminals.rollout.plugins.module_utils.control import Control
from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host
from ansible_collections.terminals.rollout.plugins.module_utils.parts import Part, settings_file
from ansible_collections.terminals.rollout.plugins.module_utils.root import check, claim, remove
from ansible_collections.terminals.rollout.plugins.module_utils.supervisor import Supervisor

PRIVATE = 0o700
SECRET = 0o600
TOKEN_LENGTH = 43
DIRECTORIES = ("builds", "conf", "conf/programs", "log", "run", "state")
COMPLETE = ".complete"
"""The file of a virtual environment in which all is there; it says of which build."""
UNPACKED = "unpacked"
"""What is unpacked of a build while its environments are filled, in its folder."""
SHUT_DOWN_SECONDS = 60
# The environment of all services, for as long as they run: nothing else of whoever deploys.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


class Environment:
    """The environment whose directory on this host is ``root``."""

    def __init__(self, host: Host, root: Path, *, seconds: int = 60) -> None:
        self._host = host
        self._root = root
        self._seconds = seconds
        """Until what is started has to be ready."""
        self._programs = root / "conf" / "programs"
        self._base = root / "base" / "venv"
        """What the holder runs from, until another build's goes on in its place."""
        self._supervisor = Supervisor(root / "run" / "supervisor.sock")
        self.control = self._control(self._base)

    # --- builds ------------------------------------------------------------------------------

    def install(self, build: str, archive: Path, *, uv: str, python: str) -> None:
        """Put a build here, ready to start, and once what holds the sessions.

        Raises:
            Failed: the directory is not ours, or what arrived is not what was built.
        """
        claim(self._host, self._root, PRIVATE)
        for name in DIRECTORIES:
            self._host.directory(self._root / name, PRIVATE)
        token = self._root / "run" / "token"
        if not token.exists():
            alphabet = string.ascii_letters + string.digits
            text = "".join(map(secrets.choice, [alphabet] * TOKEN_LENGTH))
            self._host.write("Make the token", token, f"{text}\n", SECRET, secret=True)
        folder = self._root / "builds" / build
        if not (folder / "venv" / COMPLETE).exists():
            self._host.directory(folder, PRIVATE)
            words = ["tar", "--extract", "--no-same-owner", "--file", str(archive)]
            words += ["--directory", str(folder)]
            self._host.run("Carry the build to the host", words)
        if not self._host.check:
            _verify(folder)
        for venv in (folder / "venv", self._base):
            if not (venv / COMPLETE).exists():
                self._venv(venv, build, folder, uv, python)
        if not self._host.check:
            shutil.rmtree(folder / UNPACKED, ignore_errors=True)

    def _venv(self, venv: Path, build: str, folder: Path, uv: str, python: str) -> None:
        if not self._host.check:
            shutil.rmtree(venv, ignore_errors=True)
            # The account's own cache would keep what is unpacked of every build, for good.
            tool = [uv, "--quiet", "--cache-dir", str(folder / UNPACKED)]
            make = [*tool, "venv", "--python", python, str(venv)]
            self._host.expect(f"{venv} cannot be made", make)
            fill = [*tool, "pip", "install", "--offline", "--no-index", "--no-deps", "--python", str(venv)]
            fill += map(str, sorted((folder / "wheels").glob("*.whl")))
            self._host.expect(f"{venv} cannot be filled", fill)
            # Made last: an environment that a full disk or a crash left half made is made again.
            (venv / COMPLETE).write_text(f"{build}\n")
        self._host.did.append(f"Make the virtual environment of {venv.parent.name}")

    # --- generations -------------------------------------------------------------------------

    def start(
        self,
        generation: str,
        build: str,
        workers: int,
        manager: Part,
        monitor: Part | None,
        fence: int | None,
    ) -> None:
        """Start a generation, without traffic; session manager and monitor where there is none.

        Raises:
            Failed: somebody else is in charge, or it is not ready in time.
        """
        self.control.in_charge(fence)
        if (self._programs / "manager.conf").exists():
            # One that runs is replaced as a step of its own.
            self._have_supervisor()
        else:
            self.replace_manager(manager)
        words = ["--socket", str(self._root / "run" / "manager.sock"), "--generation", generation]
        words += ["--build", build, "--token-file", str(self._root / "run" / "token")]
        programs = [
            self._program(
                f"{role}-{generation}",
                [self._terminals(build), role, *words],
                # Exit code 0 means told to stop: the supervisor then leaves it stopped.
                autorestart="unexpected",
                exitcodes="0",
                process_name="%(program_name)s-%(process_num)d",
                numprocs=str(number),
                stdout_logfile=self._log("%(program_name)s-%(process_num)d"),
            )
            for role, number in (("worker", workers), ("web", 1))
        ]
        path = self._programs / f"{generation}.conf"
        self._host.write("Describe the generation's programs", path, "\n".join(programs), SECRET)
        if not self._host.check:
            added = [self._supervisor.add(f"{role}-{generation}") for role in ("worker", "web")]
            if any(added):
                self._host.did.append("Start the generation")
            self.control.until_ready(generation, workers, self._seconds)
        if monitor and not (self._programs / "monitor.conf").exists():
            self.replace_monitor(monitor)

    def stop(self, generation: str, fence: int | None) -> None:
        """Stop a generation, and leave nothing of it but its build.

        Raises:
            Failed: the session manager refused, or its processes do not end.
        """
        self.control.stop(generation, fence)
        running = not self._host.check and self._supervisor.pid is not None
        # Its programs first: a supervisor that starts in between is not to start them.
        self._host.remove("Remove the generation's programs", self._programs / f"{generation}.conf")
        if running:
            for role in ("worker", "web"):
                self._supervisor.drop(f"{role}-{generation}")

    # --- what stays while they come and go ----------------------------------------------------

    def replace_manager(self, part: Part) -> None:
        """Put a session manager of a build, with settings, in the place of the one that runs. Sessions go on.

        Raises:
            Failed: it cannot start, or does not go on with all sessions in time.
        """
        config = self._settings("managers", part)
        program = self._terminals(part["build"])
        if not self._host.check:
            # Before the one that runs is touched.
            check = [program, "manager", "--check", "--config", str(config)]
            self._host.expect("the session manager could not start", check)
        control = self._control(self._root / "builds" / part["build"] / "venv")
        sessions = control.ask("sessions").out  # empty: none runs, or it does not answer
        text = self._program(
            "manager",
            [program, "manager", "--config", str(config), "--build", part["build"]],
            # Sessions go on over its end, whatever ends it. Exit code 0: another one has taken over.
            autorestart="true",
            priority="2",
            startsecs="0",
            stdout_logfile=self._log("manager"),
        )
        self._host.write("Describe the session manager", self._programs / "manager.conf", text, SECRET)
        self._have_supervisor()
        if self._host.check:
            return
        if self._supervisor.update("manager"):
            self._host.did.append("Replace the session manager")
        words = ("managed", part["build"], part["settings"], "--timeout", self._seconds, "--before", "-")
        control.expect("the session manager does not go on", *words, text=sessions)

    def renew_holder(self, part: Part, fence: int | None) -> None:
        """Have the holder go on as another build: its process stays, with all shells, sockets and records.

        Raises:
            Failed: it cannot.
        """
        if not self._host.check:
            build = part["build"]
            control = self._control(self._root / "builds" / build / "venv")
            control.expect("the holder does not go on as another build", "renew-holder", build, fence=fence)
        self._host.did.append("Have the holder go on as another build")

    def replace_monitor(self, part: Part) -> None:
        """Put a monitor of a build, with settings, in the place of the one that runs.

        Raises:
            Failed: it does not watch in time.
        """
        config = self._settings("monitors", part)
        words = ["monitor", "--config", str(config), "--build", part["build"]]
        text = self._program(
            "monitor",
            [self._terminals(part["build"]), *words],
            autorestart="true",
            stdout_logfile=self._log("monitor"),
        )
        self._host.write("Describe the monitor", self._programs / "monitor.conf", text, SECRET)
        if self._host.check:
            return
        if self._supervisor.update("monitor"):
            self._host.did.append("Start the monitor, in the place of the one that runs")
        words = ["monitored", part["build"], part["settings"], "--timeout", str(self._seconds)]
        self.control.expect("the monitor does not watch", *words)

    def remove_monitor(self) -> None:
        """Have no monitor; what it has seen stays."""
        self._host.remove("Remove the monitor's program", self._programs / "monitor.conf")
        if self._host.check:
            return
        if self._supervisor.update("monitor"):
            self._host.did.append("Stop the monitor")
        self.control.expect("the session manager does not forget the monitor", "unmonitored")

    def tear_down(self) -> None:
        """Stop everything, sessions included, and remove the directory.

        Raises:
            Failed: it is not an environment's, or its supervisor does not end.
        """
        check(self._root)
        pid = self._supervisor.pid
        if pid is not None:
            if not self._host.check:
                self._supervisor.shut_down()
                _wait_for_end(pid)
            self._host.did.append("Stop the supervisor and all it runs")
        remove(self._host, self._root)

    # --- how programs are described -----------------------------------------------------------

    def supervised(self) -> str:
        """The supervisor's configuration, the holder's program in it."""
        run = self._root / "run"
        terminals = str(self._base / "bin" / "terminals")
        factory = "supervisor.rpcinterface:make_main_rpcinterface"
        sections = [
            _section(
                "supervisord",
                directory=_literal(self._root),
                logfile=self._log("supervisord"),
                pidfile=_literal(run / "supervisord.pid"),
                childlogdir=_literal(self._root / "log"),
                umask="077",
                minfds="4096",
            ),
            _section("unix_http_server", file=_literal(run / "supervisor.sock"), chmod="0700"),
            _section("rpcinterface:supervisor", **{"supervisor.rpcinterface_factory": factory}),
            _section("supervisorctl", serverurl=f"unix://{_literal(run / 'supervisor.sock')}"),
            self._program(
                "holder",
                [terminals, "holder", "--socket", str(run / "holder.sock"), *self._build_of_base()],
                # Holds shells and sockets. Nothing ever restarts it: another build goes on in its place, as
                # the same process.
                autorestart="true",
                priority="1",
                stopwaitsecs="15",
                stdout_logfile=self._log("holder"),
            ),
            # From here: a path of ours may have blanks, at which this list is split.
            _section("include", files="programs/*.conf"),
        ]
        return "\n".join(sections)

    def _build_of_base(self) -> list[str]:
        """What the holder is told that it is; an environment of before that was said does not know."""
        complete = self._base / COMPLETE
        build = complete.read_text().strip() if complete.exists() else ""
        return ["--build", build] if build else []

    def _have_supervisor(self) -> None:
        path = self._root / "conf" / "supervisord.conf"
        self._host.write("Configure the supervisor", path, self.supervised(), SECRET)
        if self._host.check or self._supervisor.pid is not None:
            return
        kept = [f"{name}={os.environ[name]}" for name in KEPT if os.environ.get(name)]
        program = str(self._base / "bin" / "supervisord")
        what = "Start the supervisor, the holder and the session manager"
        self._host.run(what, ["env", "-i", *kept, program, "-c", str(path)])

    def _program(self, name: str, words: Sequence[str], **options: str) -> str:
        common = {"startretries": "100", "stopwaitsecs": "10", "redirect_stderr": "true"}
        return _section(f"program:{name}", command=_literal(shlex.join(words)), **{**common, **options})

    def _settings(self, folder: str, part: Part) -> Path:
        place = self._root / "conf" / folder
        return settings_file(self._host, place, part, directory=PRIVATE, file=SECRET)

    def _log(self, name: str) -> str:
        return f"{_literal(self._root / 'log')}/{name}.log"

    def _terminals(self, build: str) -> str:
        return str(self._root / "builds" / build / "venv" / "bin" / "terminals")

    def _control(self, venv: Path) -> Control:
        words = [str(venv / "bin" / "terminals"), "ctl", "--socket", str(self._root / "run" / "manager.sock")]
        return Control(self._host, words)


def _section(name: str, **options: str) -> str:
    lines = [f"{option} = {value}" for option, value in options.items()]
    return "\n".join(["; Written by rollout, and anew by each deployment.", f"[{name}]", *lines, ""])


def _literal(value: object) -> str:
    """As the supervisor's configuration spells it, in which a per cent sign has a meaning."""
    return str(value).replace("%", "%%")


def _verify(folder: Path) -> None:
    """Check that what arrived is what was built."""
    try:
        lines = (folder / "SHA256SUMS").read_text().splitlines()
    except OSError as error:
        raise Failed(f"what arrived is not what was built: SHA256SUMS: {error.strerror}") from None
    for line in lines:
        digest, between, name = line.partition("  ")
        if not between:
            raise Failed(f"what arrived is not what was built: SHA256SUMS has {line[:80]!r}")
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise Failed(f"what arrived is not what was built: {name}: {error.strerror}") from None
        if found != digest:
            raise Failed(f"what arrived is not what was built: {name} is another one")


def _wait_for_end(pid: int) -> None:
    end = time.monotonic() + SHUT_DOWN_SECONDS
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise Failed(f"the supervisor, process {pid}, has not ended after {SHUT_DOWN_SECONDS} s")
