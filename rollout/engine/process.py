"""The process engine: supervised processes in per-build virtual environments on this machine."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from terminals.control import answers, packets
from terminals.control.asking import ControlError, connect
from terminals.manager.certificate import CertificateError, TlsFiles

from rollout.checks.runner import Target
from rollout.config import Config, Environment
from rollout.direct.mark import NAME, Mark, read_mark
from rollout.engine.base import HostFacts, Parts, running_parts
from rollout.engine.manager import ManagerCommands, Order, R, manager_config
from rollout.engine.monitor import age_since, as_log, monitor_config
from rollout.engine.playbooks import run_playbook
from rollout.errors import EngineError
from rollout.model import BuildRef, EngineEvent, MonitorLog

STATUS_SECONDS = 5.0
COMPLETE = Path("venv", ".complete")
"""What a build on a host has when all of it is there."""


class ProcessEngine(ManagerCommands):
    """Implements :class:`rollout.engine.Engine` for hosts that are folders of this machine."""

    def __init__(
        self,
        config: Config,
        environment: Environment,
        *,
        on_event: Callable[[EngineEvent], None] = lambda event: None,
    ) -> None:
        super().__init__(environment, on_event)
        self._config = config
        self._defaults = config.defaults
        self._artifacts = config.state / "ansible" / environment.name

    def facts(self) -> list[HostFacts]:
        """See :meth:`rollout.engine.Engine.facts`."""
        status = self.status()
        return [
            HostFacts(
                host=name,
                builds=tuple(
                    sorted(path.parent.parent.name for path in host.root.glob(f"builds/*/{COMPLETE}"))
                ),
                status=status[name],
                held=status[name] is not None or _held(host.root),
            )
            for name, host in self._environment.hosts.items()
        ]

    def install(self, build: BuildRef, *, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.install`. Nothing travels: what needs a build unpacks it."""

    def start(self, build: BuildRef, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.start`."""
        for host in hosts:
            if tls := self._environment.listens(host).tls:
                try:
                    TlsFiles(tls.certificate, tls.key).context()
                except CertificateError as error:
                    raise EngineError(f"listen.tls of {self._environment.name}: {error}") from None
        self._run(
            "deploy",
            hosts,
            terminals_process_build=build.id,
            terminals_process_build_source=build.path,
            terminals_process_generation=generation,
            terminals_process_workers=self._environment.workers,
            terminals_manager_fence=fence,
            parts={host: parts for host, parts in self.wanted(build).items() if host in hosts},
        )

    def stop(self, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.stop`."""
        self._run(
            "stop",
            hosts,
            terminals_process_generation=generation,
            terminals_manager_fence=fence,
        )

    def tidy(self, keep: Collection[str]) -> list[str]:
        """See :meth:`rollout.engine.Engine.tidy`. Nothing goes while the session manager does not answer."""
        gone = set()
        for name, known in self.status().items():
            if known is None:
                continue
            runs = {entry["build"] for entry in known["generations"] if entry["state"] != "retired"}
            runs |= {part.build for part in running_parts(known).values() if part}
            root = self._environment.hosts[name].root
            for folder in (root / "builds").iterdir():
                if folder.name not in runs and folder.name not in keep:
                    _remove(root, folder)
                    gone.add(folder.name)
        return sorted(gone)

    def status(self) -> dict[str, dict[str, Any] | None]:
        """See :meth:`rollout.engine.Engine.status`. Asks the sockets directly: it is polled each second."""
        from terminals.control.asking import ControlError, ask
        from terminals.control.framing import pack

        found: dict[str, dict[str, Any] | None] = {}
        for name in self._environment.hosts:
            try:
                status = ask(self._socket(name), packets.Status(), answers.Status, timeout=STATUS_SECONDS)
                found[name] = json.loads(pack(status))  # as of a host that is asked over SSH
            except ControlError:
                found[name] = None
        return found

    def monitor(self, since: float) -> dict[str, MonitorLog | None]:
        """See :meth:`rollout.engine.Engine.monitor`. Reads the files: one that is down has left them."""
        from terminals.monitor.read import read_log

        found: dict[str, MonitorLog | None] = {}
        for name, host in self._environment.hosts.items():
            folder = host.root / "monitor"
            found[name] = as_log(read_log(folder, age_since(since))) if folder.is_dir() else None
        return found

    def targets(self) -> list[Target]:
        """See :meth:`rollout.engine.Engine.targets`."""
        targets = []
        for name, host in self._environment.hosts.items():
            listen = self._environment.listens(name)
            path = host.root / "run" / "token"
            try:
                token = path.read_text().strip()
            except OSError as error:
                raise EngineError(
                    f"{path}: {error.strerror}; is anything deployed to {self._environment.name}?"
                ) from None
            targets.append(
                Target(
                    environment=self._environment.name,
                    host=name,
                    terminals={
                        "system": listen.url(listen.system, "ws"),
                        "claude": listen.url(listen.claude, "ws"),
                    },
                    web=listen.url(listen.web, "http"),
                    token=token,
                    ca=str(listen.tls.ca) if listen.tls and listen.tls.ca else None,
                )
            )
        return targets

    def marks(self) -> dict[str, Mark]:
        """See :meth:`rollout.engine.Engine.marks`."""
        found = {name: self._mark(name) for name in self._environment.hosts}
        return {name: mark for name, mark in found.items() if mark is not None}

    def unmark(self) -> None:
        """See :meth:`rollout.engine.Engine.unmark`."""
        for host in self._environment.hosts.values():
            (host.root / NAME).unlink(missing_ok=True)

    def teardown(self) -> None:
        """See :meth:`rollout.engine.Engine.teardown`."""
        self._run("teardown", list(self._environment.hosts))

    def _mark(self, host: str) -> Mark | None:
        path = self._environment.hosts[host].root / NAME
        return read_mark(path.read_text()) if path.exists() else None

    def _lead_back(self, host: str, generation: str, fence: int) -> answers.LedBack:
        from terminals.control.asking import ControlError
        from terminals.control.back import lead_back

        try:
            return lead_back(self._socket(host), generation, fence)
        except ControlError as error:
            raise EngineError(f"{host}: {error}") from None

    def _order(self, host: str, order: Order, kind: type[R], seconds: float) -> R:
        from terminals.control.asking import ControlError, ask

        try:
            return ask(self._socket(host), order, kind, timeout=seconds)
        except ControlError as error:
            raise EngineError(f"{host}: {error}") from None

    def _socket(self, host: str) -> str:
        return str(self._environment.hosts[host].root / "run" / "manager.sock")

    def _run(
        self,
        playbook: str,
        hosts: Sequence[str],
        *,
        parts: Mapping[str, Parts] | None = None,
        **variables: Any,
    ) -> None:
        inventory = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "terminals_engine": "process",
                "terminals_process_root": str(host.root),
                **(self._variables("terminals_process", name, parts[name]) if parts else {}),
                "terminals_process_sources": self._sources(host.root, parts[name]) if parts else {},
                **_tools(),
            }
            for name, host in self._environment.hosts.items()
            if name in hosts
        }
        run_playbook(
            playbook, hosts=inventory, variables=variables, artifacts=self._artifacts, on_event=self.on_event
        )

    def _sources(self, root: Path, parts: Parts) -> dict[str, str]:
        """Builds of parts that a host does not have yet, and where they are."""
        builds = {part.build for part in parts.values() if part is not None}
        missing = [build for build in builds if not (root / "builds" / build / COMPLETE).exists()]
        return {build: str(self._config.builds_dir / build) for build in sorted(missing)}

    def _monitor_settings(self, host: str) -> dict[str, Any]:
        root, listen = self._environment.hosts[host].root, self._environment.listens(host)
        return monitor_config(
            self._config,
            self._environment,
            listen,
            host,
            urls={name: listen.url(getattr(listen, name), "ws") for name in ("system", "claude")},
            directory=str(root / "monitor"),
            socket=str(root / "run" / "manager.sock"),
            token=str(root / "run" / "token"),
            mark=str(root / NAME),
        )

    def _manager_settings(self, host: str) -> dict[str, Any]:
        environment = self._environment
        root, listen = environment.hosts[host].root, environment.listens(host)
        tls = (
            {"tls": {"certificate": str(listen.tls.certificate), "key": str(listen.tls.key)}}
            if listen.tls
            else {}
        )
        config = manager_config(
            environment,
            listen,
            self._defaults,
            socket=str(root / "run" / "manager.sock"),
            state=str(root / "state"),
            host=listen.host,
            name=host,
        )
        return {**config, **tls}


def _held(root: Path) -> bool:
    """Whether a holder listens in a host's directory, be it one that does not answer."""
    try:
        connect(str(root / "run" / "holder.sock")).close()
    except ControlError:
        return False
    return True


def _remove(root: Path, build: Path) -> None:
    """Take a build that nothing runs from a host's directory, with the programs that would start it."""
    # From here on it counts as not installed, however far we get.
    (build / COMPLETE).unlink(missing_ok=True)
    for programs in (root / "conf" / "programs").glob("*.conf"):
        if f"{build}/" in programs.read_text():
            programs.unlink()
    shutil.rmtree(build)


def _tools() -> dict[str, Any]:
    """What virtual environments are made with."""
    import uv

    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    return {"terminals_process_uv": uv.find_uv_bin(), "terminals_process_python": str(python)}
