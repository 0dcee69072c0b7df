"""The hosts of an environment, as they are found without Ansible and without the ledger."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.config import Config, Environment, Listen
from rollout.direct.mark import NAME, Mark, ask_for_mark, read_mark
from rollout.direct.reach import LocalReach, Reach, SshReach
from rollout.errors import ConfigError, EngineError

LEAD_SECONDS = 60.0
# Asked where the ports are: it needs no way to the front door but the host's own.
_READY = """
import http.client, ssl, sys
host, port, tls = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "tls"
secure = ssl._create_unverified_context() if tls else None
kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
door = kind(host, port, timeout=5, **({"context": secure} if tls else {}))
door.request("GET", "/health/ready")
print(door.getresponse().status)
"""


@dataclass(frozen=True, slots=True)
class Site:
    """One host: the way to it, and how its session manager is spoken to there.

    ``project`` is the Compose project; "" for processes. ``ctl`` and ``python`` are words to put before.
    """

    name: str
    reach: Reach
    root: Path
    listen: Listen
    project: str
    ctl: tuple[str, ...]
    python: tuple[str, ...]

    @property
    def beside_manager(self) -> tuple[str, ...]:
        """Words before a command that is to run where the session manager's processes are seen."""
        return ("docker", "exec", f"{self.project}-manager-1") if self.docker else ()

    @property
    def docker(self) -> bool:
        """Whether the services are containers."""
        return bool(self.project)

    def ask(self, *words: str, timeout: float = 30.0) -> str:
        """What a command on the host prints.

        Raises:
            EngineError: it failed; the last thing that it said.
        """
        answer = self.reach.run(words, timeout=timeout)
        if answer.status != 0:
            raise EngineError(f"{self.name}: {shlex.join(words[:3])}: {answer.reason[-300:]}")
        return answer.output

    def control(self, *words: str, fence: int | None = None, timeout: float = 30.0) -> dict[str, Any]:
        """Tell or ask the session manager.

        Raises:
            EngineError: it refused, or none answers.
        """
        fenced = ("--fence", str(fence)) if fence is not None else ()
        answer = self.ask(*self.ctl, *fenced, *words, timeout=timeout)
        try:
            found: dict[str, Any] = json.loads(answer)
        except ValueError:
            raise EngineError(f"{self.name}: {words[0]}: not an answer: {answer[:100]!r}") from None
        return found

    def lead_back(self, generation: str, fence: int) -> dict[str, Any]:
        """Give a generation all new connections, and all live sessions; what became of those.

        Raises:
            EngineError: the session manager refused, or none answers.
        """
        try:
            led = self.control("lead-back", generation, fence=fence, timeout=LEAD_SECONDS)
        except EngineError as error:
            if "No such command" not in str(error):
                raise
        else:
            return dict(led["moved"])
        # A session manager of an earlier build is told one thing after the other.
        self.control("cancel-retire", generation, fence=fence)
        self.control("weights", f"{generation}=100", fence=fence)
        return self.control("move", "--to", generation, fence=fence, timeout=LEAD_SECONDS)

    def ready(self) -> bool:
        """Whether the front door says that it is ready."""
        # In its container the holder listens on all addresses.
        host = "127.0.0.1" if self.docker else self.listen.host
        words = (
            *self.python,
            "-c",
            _READY,
            host,
            str(self.listen.web),
            "tls" if self.listen.tls else "plain",
        )
        answer = self.reach.run(words)
        return answer.status == 0 and answer.output.strip() == "200"

    def mark(self) -> Mark | None:
        """The mark of a glass that was broken, if there is one."""
        return read_mark(self.reach.run(ask_for_mark(self.root, self.project)).output)

    def leave(self, mark: Mark) -> None:
        """Leave a mark.

        Raises:
            EngineError: it could not be written.
        """
        path = shlex.quote(str(self.root / NAME))
        script = f"umask 022; printf %s {shlex.quote(mark.as_json())} > {path}.new && mv {path}.new {path}"
        self.ask("sh", "-c", script)


def lost_host(config: Config, host: str) -> str:
    """Why nothing is done with a host that is stated to be lost, and the way out."""
    return f"{host} is stated to be lost; take lost: true away in {config.path.name} first"


def sites_of(config: Config, environment: Environment, hosts: Sequence[str] = ()) -> list[Site]:
    """The hosts of an environment, or those named.

    Raises:
        ConfigError: the environment has no host of that name.
    """
    if lost := [name for name in hosts if name in environment.absent]:
        raise ConfigError(lost_host(config, lost[0]))
    unknown = [name for name in hosts if name not in environment.hosts]
    if unknown:
        raise ConfigError(
            f"{environment.name} has no host {unknown[0]}; there are: {', '.join(environment.hosts)}"
        )
    return [_site(config, environment, name) for name in environment.hosts if name in hosts or not hosts]


def _site(config: Config, environment: Environment, name: str) -> Site:
    host, listen = environment.hosts[name], environment.listens(name)
    if environment.containers:
        project = f"{config.project}-{environment.name}"
        inside = ("docker", "exec", f"{project}-manager-1")
        with_ports = ("docker", "exec", f"{project}-holder-1")
        return Site(
            name,
            SshReach(host.ssh or name, environment.ssh_config),
            host.root,
            listen,
            project,
            (*inside, "terminals", "ctl"),
            (*with_ports, "/opt/terminals/bin/python"),
        )
    programs = host.root / "base" / "venv" / "bin"
    ctl = (str(programs / "terminals"), "ctl", "--socket", str(host.root / "run" / "manager.sock"))
    return Site(name, LocalReach(), host.root, listen, "", ctl, (str(programs / "python"),))
