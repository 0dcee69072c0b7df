"""The docker engine: containers on one or many hosts, reached over SSH."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from terminals.control import answers, packets

from rollout.authority import host_certificate
from rollout.build.hosts import NOT_FOUND, UNREACHABLE, Answer, SshHost
from rollout.build.store import read_image
from rollout.checks.runner import Target
from rollout.config import Config, Environment
from rollout.direct.compose import compose_variables
from rollout.direct.mark import (
    MONITOR,
    NAME,
    Mark,
    ask_for_mark,
    monitor_container,
    read_mark,
    take_mark_away,
)
from rollout.engine.base import HostFacts, PartRef, Parts
from rollout.engine.manager import OIDC, ManagerCommands, Order, R, manager_config
from rollout.engine.monitor import age_since, as_log, monitor_config
from rollout.engine.playbooks import compose_program, packaged, run_playbook
from rollout.engine.ssh import reached_by, ssh_options
from rollout.engine.stats import HostStats, host_stats
from rollout.errors import ConfigError, EngineError, RolloutError
from rollout.files import read_text
from rollout.model import BuildRef, EngineEvent, ImageRef, MonitorLog

PROGRESS_SECONDS = 0.5
ASK_SECONDS = 60.0
"""Longer than a session manager takes to lead everybody back."""
TOKEN_READS = 3
RUN = "/run/terminals"
STATE = "/var/lib/terminals"
PEER_FILES = ("peers-ca.pem", "peers.pem", "peers.key")
"""What a manager's authority, certificate and key are called on its host."""
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in the container; its engine publishes it where it is configured


class DockerEngine(ManagerCommands):
    """Implements :class:`rollout.engine.Engine` for hosts with a Docker engine of their own."""

    live_restore: ClassVar[bool] = True
    """Whether containers outlive a restart of their engine."""
    more_ports: ClassVar[tuple[int, ...]] = ()
    """Those that hosts reach each other at, besides the terminals' own."""
    udp_ports: ClassVar[tuple[int, ...]] = ()
    """The same, of UDP."""

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
        self._registry = config.image.registry
        self._project = f"{config.project}-{environment.name}"
        self._image_name = config.project
        self._artifacts = config.state / "ansible" / environment.name
        self._ssh = ssh_options(environment.ssh_config)
        self._tokens: dict[str, str] = {}

    @property
    def project(self) -> str:
        """Compose project of the session manager; a generation's is this, a dash and its name."""
        return self._project

    @property
    def ssh_options(self) -> tuple[str, ...]:
        """What ``ssh`` is told besides the host's name."""
        return self._ssh

    # --- asking -----------------------------------------------------------------------------

    def facts(self) -> list[HostFacts]:
        """See :meth:`rollout.engine.Engine.facts`. Nothing is begun while a host is unreachable."""
        names = list(self._environment.hosts)
        builds = self._at_once(names, self._builds)
        status = self.status()
        held = self._holding(status)
        return [HostFacts(name, builds[name], status[name], name in held) for name in names]

    def status(self) -> dict[str, dict[str, Any] | None]:
        """See :meth:`rollout.engine.Engine.status`. By the front door, which is quick; else over SSH."""
        return self._at_once(self._environment.hosts, self._status)

    def monitor(self, since: float) -> dict[str, MonitorLog | None]:
        """See :meth:`rollout.engine.Engine.monitor`. Asks over SSH, all hosts at the same time."""
        age = age_since(since)
        return self._at_once(self._environment.hosts, lambda name: self._monitor(name, age))

    def targets(self) -> list[Target]:
        """See :meth:`rollout.engine.Engine.targets`."""
        return [self._target(name) for name in self._environment.hosts]

    def host(self, name: str, limit: float | None = None) -> SshHost:
        """A host by its name in the configuration. ``limit``: seconds that each command may take there.

        Whoever asks it something sets one: an engine that hangs must not hold a rollout, and its lease, for
        ever.
        """
        return SshHost(self._environment.hosts[name].ssh or name, options=self._ssh, limit=limit)

    def stats(self, generation: str, *, back: float) -> dict[str, HostStats | None]:
        """What the engine of each host tells of a generation's containers; ``None`` where none answers.

        Of this engine only. ``back``: so many seconds of events.
        """
        project = f"{self._project}-{generation}"
        return self._at_once(
            list(self._environment.hosts), lambda name: host_stats(self.host(name), project, back=back)
        )

    # --- acting -----------------------------------------------------------------------------

    def install(self, build: BuildRef, *, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.install`. Only the layers that a host lacks travel."""
        # Read when images travel only: these bring docker's library, which takes half a second to import.
        from rollout.build.transport import pull_image, push_image

        image, folder = self._image(build), Path(build.path)
        if self._registry is not None:
            pushed = push_image(folder, image, self._registry)
            self._at_once(hosts, lambda name: pull_image(self.host(name), image, pushed))
        else:
            self._at_once(hosts, lambda name: self._send(name, folder, image))
        self._at_once(hosts, lambda name: self._arrived(name, image))

    def start(self, build: BuildRef, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.start`."""
        self._run("deploy", hosts, **self._start_variables(build, generation, fence=fence, hosts=hosts))

    def stop(self, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.stop`."""
        self._run(
            "stop",
            hosts,
            terminals_docker_generation=generation,
            terminals_manager_fence=fence,
        )

    def tidy(self, keep: Collection[str]) -> list[str]:
        """See :meth:`rollout.engine.Engine.tidy`. What a container was made of stays."""
        gone = self._at_once(self._environment.hosts, lambda name: self._tidy(name, keep))
        return sorted(set().union(*gone.values()))

    def marks(self) -> dict[str, Mark]:
        """See :meth:`rollout.engine.Engine.marks`. A host that does not answer is told of by others."""
        said = self._at_once(self._environment.hosts, self._mark)
        return {name: mark for name, mark in said.items() if mark is not None}

    def unmark(self) -> None:
        """See :meth:`rollout.engine.Engine.unmark`."""
        hosts = self._environment.hosts
        self._at_once(
            list(hosts), lambda name: self._ask(name, *take_mark_away(hosts[name].root, self._project))
        )

    def teardown(self) -> None:
        """See :meth:`rollout.engine.Engine.teardown`."""
        self._run("teardown", list(self._environment.hosts))

    def certify(self, build: BuildRef, *, fence: int) -> None:
        """Bring every host on which something runs the certificate by which the others know it.

        ``build``: what serves there.

        Raises:
            ConfigError: the authority's files cannot be read.
            EngineError: a host failed.
        """
        there = self._holding(self.status())
        parts = {
            host: {"manager": parts["manager"]} for host, parts in self.wanted(build).items() if host in there
        }
        if not parts:
            return
        # Of nothing that is replaced, what it needs is brought all the same; it is used within seconds.
        self._run(
            "manage",
            list(parts),
            parts=parts,
            terminals_manager_fence=fence,
            terminals_docker_replaced=[],
        )

    def provision(self, *, check: bool) -> None:
        """Bring every host to where builds can be deployed to it; with ``check``, only say what would change.

        Raises:
            EngineError: a host failed, or root's rights are not to be had there.
        """
        self._run(
            "provision",
            list(self._environment.hosts),
            check=check,
            terminals_host_compose_source=compose_program(),
            terminals_host_firewall=self._environment.firewall,
            terminals_host_live_restore=self.live_restore,
        )

    def look_for_upgrades(self) -> None:
        """Say what :meth:`upgrade` would change on each host, and change nothing.

        Raises:
            EngineError: as :meth:`provision`; or an engine cannot be upgraded.
        """
        self._run("upgrade", list(self._environment.hosts), check=True)

    def upgrade(self, host: str) -> None:
        """Bring the engine of a host up to date. Where containers do not outlive it (:attr:`live_restore`),
        that ends all that run there.

        Raises:
            EngineError: as :meth:`provision`.
        """
        self._run("upgrade", [host])

    # --- one host ---------------------------------------------------------------------------

    def _send(self, name: str, folder: Path, image: ImageRef) -> None:
        from rollout.build.transport import send_image

        started = told = time.time()

        def progress(sent: int, total: int) -> None:
            nonlocal told
            if (now := time.time()) - told >= PROGRESS_SECONDS:
                told = now
                text = f"Send the image: {sent / 1e6:.0f} of {total / 1e6:.0f} MB"
                self.on_event(EngineEvent(name, text, "ok", "", now))

        sent = send_image(self.host(name), folder, image, on_progress=progress)
        detail = f"{sent.bytes / 1e6:.1f} MB in {time.time() - started:.1f} s"
        self.on_event(
            EngineEvent(name, "Send the image", "changed" if sent.bytes else "ok", detail, time.time())
        )

    def _arrived(self, name: str, image: ImageRef) -> None:
        """Check that the image on a host is the one that was built."""
        found = self._ask(name, "docker", "image", "inspect", "--format", "{{.Id}}", image.tag).output.strip()
        if found != image.id:
            raise EngineError(f"{name}: what arrived is not what was built: {found} instead of {image.id}")

    def _builds(self, name: str) -> tuple[str, ...]:
        answer = self._ask(name, "docker", "image", "ls", "--format", "{{.Tag}}", self._image_name)
        return tuple(sorted(answer.output.split()))

    def _holding(self, status: Mapping[str, Any]) -> set[str]:
        """The hosts on which a holder runs: it is asked for where no session manager answers for it."""
        held = self._at_once([name for name in status if status[name] is None], self._held)
        return {name for name in status if held.get(name, True)}

    def _held(self, name: str) -> bool:
        which = ("--filter", f"name=^{self._project}-holder-1$")
        command = ("docker", "ps", "--quiet", *which)
        answer = self.host(name, ASK_SECONDS).run(command)
        # One that was never set up has no Docker.
        return answer.status != NOT_FOUND and bool(self._good(name, command, answer).output.strip())

    def _tidy(self, name: str, keep: Collection[str]) -> set[str]:
        form = "{{.Tag}} {{.ID}}"
        listed = self._ask(name, "docker", "image", "ls", "--no-trunc", "--format", form, self._image_name)
        images = dict(line.split() for line in listed.output.splitlines())
        # By its name, or by its id where a Swarm has made it.
        used = self._ask(name, "docker", "ps", "--all", "--no-trunc", "--format", "{{.Image}}").output.split()
        # Other tags than build ids are somebody else's.
        old = {
            build
            for build, image in images.items()
            if BuildRef.is_id(build)
            and build not in keep
            and not {f"{self._image_name}:{build}", image, image.removeprefix("sha256:")} & set(used)
        }
        if old:
            self._ask(name, "docker", "image", "rm", *(f"{self._image_name}:{build}" for build in old))
        return old

    def _status(self, name: str) -> dict[str, Any] | None:
        # Its command line is a program that has to start there; the front door is not.
        if token := self._tokens.get(name) or self._read_token(name):
            try:
                code, body = self._door(name, token).http("/api/status", token=token)
                if code == 200 and isinstance(body, dict):
                    return body
            except RolloutError:
                pass
            except Exception:  # noqa: S110 - whatever is wrong with the door, the other way tells more
                pass
        answer = self.host(name, ASK_SECONDS).run(
            ["docker", "exec", self._manager(), "terminals", "ctl", "status"]
        )
        try:
            found: dict[str, Any] = json.loads(answer.output)
        except ValueError:
            return None
        self._token(name)
        return found

    def _mark(self, name: str) -> Mark | None:
        """What was left by whoever broke the glass, or by the monitor."""
        # Whether the monitor may do so now says nothing of when it did.
        words = ask_for_mark(self._environment.hosts[name].root, self._project)
        return read_mark(self.host(name, ASK_SECONDS).run(list(words)).output)

    def _monitor(self, name: str, age: float) -> MonitorLog | None:
        command = ("terminals", "monitor-records", "--directory", MONITOR, "--age", f"{age:.3f}")
        answer = self.host(name, ASK_SECONDS).run(
            ["docker", "exec", monitor_container(self._project), *command]
        )
        try:
            return as_log(json.loads(answer.output))
        except (ValueError, KeyError, TypeError):
            return None

    def _target(self, name: str) -> Target:
        return self._door(name, self._token(name))

    def _door(self, name: str, token: str) -> Target:
        listen = self._environment.listens(name)
        address = self._environment.hosts[name].address
        return Target(
            environment=self._environment.name,
            host=name,
            terminals={
                "system": listen.url(listen.system, "ws", at=address),
                "claude": listen.url(listen.claude, "ws", at=address),
            },
            web=listen.url(listen.web, "http", at=address),
            token=token,
            ca=str(listen.tls.ca) if listen.tls and listen.tls.ca else None,
        )

    def _token(self, name: str) -> str:
        """A host's token. Engines lose what an exec printed, once in a long while (docker-py #2042): nothing
        is no token, and with it everybody would be refused until the end of the run."""
        reads = 0
        while not self._tokens.get(name):
            if reads == TOKEN_READS:
                raise EngineError(f"{name}: {RUN}/token of its session manager is empty; try: rollout doctor")
            reads += 1
            answer = self._ask(name, *self._reading_token)
            self._tokens[name] = answer.output.strip()
        return self._tokens[name]

    def _read_token(self, name: str) -> str:
        """A host's token; "" where none can be had, as where nothing has been started yet."""
        answer = self.host(name, ASK_SECONDS).run(self._reading_token)
        if answer.status == 0:
            self._tokens[name] = answer.output.strip()
        return self._tokens.get(name, "")

    @property
    def _reading_token(self) -> tuple[str, ...]:
        return ("docker", "exec", self._manager(), "cat", f"{RUN}/token")

    def _manager(self) -> str:
        return f"{self._project}-manager-1"

    def _ask(self, name: str, *command: str, limit: float = ASK_SECONDS) -> Answer:
        return self._good(name, command, self.host(name, limit).run(command))

    @staticmethod
    def _good(name: str, command: Sequence[str], answer: Answer) -> Answer:
        if answer.status == 0:
            return answer
        words = answer.reason[-300:]
        if answer.status == UNREACHABLE:
            raise EngineError(f"{name}: not reachable over SSH: {words}; look at: rollout doctor")
        raise EngineError(f"{name}: {shlex.join(command[:3])}: {words}")

    def _lead_back(self, host: str, generation: str, fence: int) -> answers.LedBack:
        return self._ctl(host, fence, answers.LedBack, ("lead-back", generation))

    def _order(self, host: str, order: Order, kind: type[R], seconds: float) -> R:
        # The way there takes its time, too.
        fence = order.fence if isinstance(order, packets.Fenced) else None
        return self._ctl(host, fence, kind, _words(order), limit=seconds + ASK_SECONDS)

    def _ctl(
        self, host: str, fence: int | None, kind: type[R], words: Sequence[str], limit: float = ASK_SECONDS
    ) -> R:
        """Have the session manager's own program give it an order: its words are those of all builds."""
        token = () if fence is None else ("--fence", str(fence))
        ctl = ("docker", "exec", self._manager(), "terminals", "ctl")
        answer = self._ask(host, *ctl, *token, *words, limit=limit)
        try:
            return msgspec.json.decode(answer.output, type=kind)
        except msgspec.MsgspecError:
            raise EngineError(f"{host}: {words[0]}: not an answer: {answer.output[:100]!r}") from None

    # --- what is declared --------------------------------------------------------------------

    def _start_variables(
        self, build: BuildRef, generation: str, *, fence: int, hosts: Sequence[str]
    ) -> dict[str, Any]:
        """What :meth:`_run` is told of a generation that is to be started."""
        image = self._image(build)
        return {
            "terminals_docker_image": image.tag,
            "terminals_docker_image_id": image.id,
            "terminals_docker_build": build.id,
            "terminals_docker_generation": generation,
            "terminals_docker_workers": self._environment.workers,
            "terminals_manager_fence": fence,
            "parts": {host: parts for host, parts in self.wanted(build).items() if host in hosts},
        }

    def _image(self, build: BuildRef) -> ImageRef:
        image = read_image(Path(build.path))
        if image is None:
            raise ConfigError(f"build {build.id} has no image; make it with: rollout build --image")
        return image

    def _secrets(self) -> dict[str, str]:
        """The URLs, secrets, of those whom the monitors tell."""
        told = self._environment.notify if self._environment.monitor else ()
        files = {name: self._config.notify[name].url_file for name in told}
        return {
            name: read_text(f"notify.{name}.url_file", path).strip()
            for name, path in files.items()
            if path is not None
        }

    def _oidc_files(self) -> dict[str, str]:
        """What web processes need of the provider that people sign in by, by the name of each file there."""
        oidc = self._environment.oidc
        files = oidc.files() if oidc else {}
        return {OIDC[key]: read_text(f"oidc.{key}", path) for key, path in files.items()}

    def _certificates(self, host: str) -> dict[str, str]:
        """By what a host knows the others, and they know it, by the name of each file there."""
        environment, tag = self._environment, self._environment.hosts[host].tag
        if environment.listens(host).peers is None or environment.authority is None or tag is None:
            return {}
        issued = host_certificate(environment.authority, tag, self._config.certificates(environment.name))
        return dict(zip(PEER_FILES, (issued.authority, issued.certificate, issued.key), strict=True))

    def _manager_settings(self, host: str) -> dict[str, Any]:
        environment = self._environment
        settings = manager_config(
            environment,
            environment.listens(host),
            self._defaults,
            socket=f"{RUN}/manager.sock",
            state=STATE,
            host=EVERYWHERE,
            name=host,
            secrets=f"{RUN}/secrets",
        )
        if (port := environment.listens(host).peers) is None:
            return settings
        region = environment.hosts[host].region
        files = zip(("authority", "certificate", "key"), PEER_FILES, strict=True)
        settings["peers"] = {
            "host": EVERYWHERE,
            "port": port,
            # The holder's ports are those that it was started with.
            "own_socket": True,
            "name": host,
            **({"region": region} if region else {}),
            **({"screens": environment.last_screens} if environment.last_screens else {}),
            **{key: f"{STATE}/secrets/{name}" for key, name in files},
        }
        return settings

    def _fixed(self, host: str) -> dict[str, Any]:
        # They are published by its container.
        listen = self._environment.listens(host)
        return {"ports": {"system": listen.system, "claude": listen.claude, "web": listen.web}}

    def _monitor_settings(self, host: str) -> dict[str, Any]:
        listen = self._environment.listens(host)
        return monitor_config(
            self._config,
            self._environment,
            listen,
            host,
            # Within the project's network, by the ports that users reach on the host.
            urls={port: f"ws://holder:{getattr(listen, port)}/" for port in ("system", "claude")},
            directory=MONITOR,
            socket=f"{RUN}/manager.sock",
            token=f"{RUN}/token",
            mark=f"{MONITOR}/{NAME}",
            secrets=f"{MONITOR}/secrets",
        )

    def _part(self, part: str, host: str, wanted: PartRef) -> dict[str, Any]:
        image = f"{self._image_name}:{wanted.build}"
        found = {**super()._part(part, host, wanted), "image": image}
        if part == "monitor":
            found["secrets"] = _at_hand(self._secrets)
        elif part == "manager":
            found["secrets"] = _at_hand(self._oidc_files)
            found["certificates"] = _at_hand(lambda: self._certificates(host))
        return found

    def _run(
        self,
        playbook: str,
        hosts: Sequence[str],
        *,
        check: bool = False,
        parts: Mapping[str, Parts] | None = None,
        **variables: Any,
    ) -> None:
        environment = self._environment
        inventory: dict[str, dict[str, Any]] = {}
        for name in hosts:
            host, listen = environment.hosts[name], environment.listens(name)
            inventory[name] = {
                **reached_by(host.ssh or name, self._ssh),
                "terminals_engine": "docker",
                "terminals_docker_root": str(host.root),
                "terminals_docker_project": self._project,
                "terminals_docker_listen": listen.model_dump(
                    include={"host", "system", "claude", "web", "peers"}, exclude_none=True
                ),
                "terminals_docker_limits": compose_variables(environment),
            }
            if playbook in ("deploy", "manage"):
                inventory[name]["terminals_docker_compose_source"] = str(packaged("compose"))
            if playbook == "provision":
                inventory[name]["terminals_host_directory"] = str(host.directory)
                ports = [listen.system, listen.claude, listen.web]
                inventory[name]["terminals_host_ports"] = [
                    *ports,
                    *filter(None, [listen.peers]),
                    *self.more_ports,
                ]
                inventory[name]["terminals_host_udp_ports"] = list(self.udp_ports)
            if parts:
                inventory[name] |= self._variables("terminals_docker", name, parts[name])
        run_playbook(
            playbook,
            hosts=inventory,
            variables=variables,
            artifacts=self._artifacts,
            on_event=self.on_event,
            check=check,
            vault=environment.vault,
        )


def _at_hand(files: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The texts of files that are brought to a host; none where one cannot be read.

    Whoever begins something is refused then (see :mod:`rollout.doctor`). A way back is not: on the host are
    those from before.
    """
    try:
        return files()
    except ConfigError:
        return {}


def _words(order: Order) -> list[str]:
    """An order, as ``terminals ctl`` spells it."""
    match order:
        case packets.Weights(weights=weights):
            return ["weights", *(f"{name}={weight}" for name, weight in weights.items())]
        case packets.Move():
            pace = {"batch": order.batch, "interval": order.interval, "deadline": order.deadline}
            options = {"to": order.to, "share": order.share, **pace}
            return ["move", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
        case packets.Retire():
            back = ["--way-back-from", order.way_back_from] if order.way_back_from else []
            return ["retire", order.generation, "--after", str(order.after), *back]
        case packets.CancelRetire():
            return ["cancel-retire", order.generation]
        case packets.HostState(state=state, message=message):
            return ["host-state", state, "--message", message]
    raise AssertionError(order)
