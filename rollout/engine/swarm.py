"""The swarm engine: generations are services of a Docker Swarm, and what holds the shells is none of them.

Holder, session manager and monitor are brought up on each host as by :class:`DockerEngine`, outside the
Swarm: it ends what it runs when it loses sight of a host. It has what may end: a generation is services of
its own name, which are never updated; when it has retired, they are removed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from rollout.build.hosts import Answer
from rollout.engine.docker import ASK_SECONDS, DockerEngine
from rollout.errors import EngineError
from rollout.model import BuildRef
from rollout.swarm.cluster import AWAY, Node, Service, Swarm
from rollout.swarm.membership import HEARTBEAT_SECONDS, PORTS, UDP_PORTS, Membership
from rollout.swarm.words import STOP_SECONDS, service_words

GONE_SECONDS = STOP_SECONDS + 15.0
GONE_POLL = 0.5
HEARD_SECONDS = HEARTBEAT_SECONDS + 60.0
"""Nodes come to a new leader within half a minute, but for those whose own manager was lost without a word:
these look for another one when it does not answer their next heartbeat."""
BACK_SECONDS = 120.0
"""For a node whose engine was started again to be one that runs something."""
HEARD_POLL = 2.0


class SwarmEngine(DockerEngine):
    """Implements :class:`rollout.engine.Engine` for hosts that are nodes of a Docker Swarm."""

    # A Swarm refuses an engine whose containers outlive it.
    live_restore: ClassVar[bool] = False
    more_ports: ClassVar[tuple[int, ...]] = PORTS
    udp_ports: ClassVar[tuple[int, ...]] = UDP_PORTS

    @cached_property
    def _swarm(self) -> Swarm:
        # Others may be managers, too.
        asked = dict.fromkeys([*self._environment.swarm_managers, *self._environment.hosts])
        return Swarm(self._project, list(asked), self._answer)

    def start(self, build: BuildRef, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.start`. The Swarm starts it; it is waited for on each host."""
        away = self._swarm.labels.generation(generation)
        self._nodes(hosts)  # of one that is none nothing is begun
        self._swarm.ours()
        variables = self._start_variables(build, generation, fence=fence, hosts=hosts)
        # What holds the shells, where there is none. It is there before who connects to it.
        self._run("deploy", hosts, **variables, terminals_docker_state="prepared")
        status = self.status()
        # One that is gone back to may have retired, and what is left of it waits to be taken away.
        if generation in self._reap(status):
            self._at_once(hosts, lambda name: self._gone(name, generation))
        others = {service.generation for service in self._swarm.ours()}
        if generation not in others:
            # Where it is not to run yet; on a node that is no host of this configuration any more, never.
            for node in self._here():
                if node.host not in hosts:
                    self._swarm.label(node, {away: AWAY})
        for host, node in self._nodes(hosts).items():
            self._swarm.label(node, {**self._strange(others, status[host]), away: None})
        image = self._image(build)
        for name, words in service_words(self._environment, self._project, generation, image.id, build.id):
            if self._swarm.create(name, image.id, words):
                self._tell(hosts[0], "Have the Swarm run a service", name)
        try:
            self._run("start", hosts, **variables, terminals_docker_swarm=True)
        except EngineError as error:
            raise EngineError(f"{error.message}{self._swarm.why_not(generation)}") from None

    def stop(self, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.stop`. Without the Swarm, too: what is left of it serves nobody,
        and the next start takes it away."""
        super().stop(generation, fence=fence, hosts=hosts)
        try:
            if set(hosts) >= set(self._environment.hosts):
                self._remove(self._swarm.ours(), {generation})
            else:
                away = self._swarm.labels.generation(generation)
                for node in self._here():
                    if node.host in hosts:
                        self._swarm.label(node, {away: AWAY})
        except EngineError as error:
            self._tell(hosts[0], "Leave its services to the next start", error.message)
            return
        self._at_once(hosts, lambda name: self._gone(name, generation))

    def teardown(self) -> None:
        """See :meth:`rollout.engine.Engine.teardown`. The hosts stay nodes of the Swarm."""
        services = self._swarm.ours()
        generations = {service.generation for service in services}
        self._remove(services, generations)

        def gone(name: str) -> None:
            for generation in generations:
                self._gone(name, generation)

        self._at_once(list(self._environment.hosts), gone)
        super().teardown()

    def provision(self, *, check: bool) -> None:
        """See :meth:`DockerEngine.provision`. The hosts are nodes of one Swarm afterwards."""
        membership = Membership(
            self._environment,
            self._swarm,
            at_once=self._at_once,
            ask=self._answer,
            tell=lambda host, what: self._tell(host, what, ""),
            check=check,
        )
        membership.look()
        super().provision(check=check)
        membership.bring()

    def upgrade(self, host: str) -> None:
        """See :meth:`DockerEngine.upgrade`. The node is in touch with the others afterwards: no two managers
        are away at once."""
        super().upgrade(host)
        end = time.monotonic() + BACK_SECONDS
        while not self._in_touch(host):
            if time.monotonic() >= end:
                raise EngineError(f"{host}: it does not hear of the others of the Swarm after the upgrade")
            time.sleep(HEARD_POLL)

    def _in_touch(self, host: str) -> bool:
        """Whether a node itself says that it belongs to the Swarm, and, as a manager, hears of a leader."""
        said = self._answer(host, ("docker", "info", "--format", "{{json .Swarm}}"))
        swarm = json.loads(said.output or "null") if said.status == 0 else None
        if swarm is None or swarm["LocalNodeState"] != "active":
            return False
        return not swarm["ControlAvailable"] or self._answer(host, ("docker", "node", "ls", "-q")).status == 0

    # --- the Swarm --------------------------------------------------------------------------

    def _answer(self, name: str, words: Sequence[str]) -> Answer:
        return self.host(name, ASK_SECONDS).run(words)

    def _here(self) -> list[Node]:
        """The nodes that the environment's generations may run on: hosts that are lost, or were taken out of
        the configuration, too."""
        return [node for node in self._swarm.nodes() if self._swarm.labels.here in node.labels]

    def _nodes(self, hosts: Sequence[str]) -> dict[str, Node]:
        """The node of each of these hosts. Those that a new leader has not heard of yet are waited for.

        Raises:
            EngineError: one is none.
        """
        end = time.monotonic() + HEARD_SECONDS
        told: set[str] = set()
        while True:
            nodes = [node for node in self._here() if node.host in hosts]
            unheard = {node.host for node in nodes if node.state == "unknown"}
            if not unheard or time.monotonic() >= end:
                break
            for host in sorted(unheard - told):
                self._tell(host, "Wait for the node to be heard of by the Swarm's new leader", "")
            told |= unheard
            time.sleep(HEARD_POLL)
        found = {node.host: node for node in nodes if node.state == "ready"}
        if missing := [host for host in hosts if host not in found]:
            env = self._environment.name
            raise EngineError(
                f"{missing[0]} is no node of the Swarm of {env}, or it does not hear of it; look at:"
                f" docker node ls; a host that is new: rollout provision {env}"
            )
        return {host: found[host] for host in hosts}

    def _strange(self, generations: set[str], status: Mapping[str, Any] | None) -> dict[str, str | None]:
        """The labels that keep a host from generations that its session manager does not know: they never
        were there, and their image may not be either. One that says nothing may know all of them."""
        known = generations if status is None else {entry["name"] for entry in status["generations"]}
        return {self._swarm.labels.generation(name): AWAY for name in generations - known}

    def _reap(self, status: Mapping[str, Mapping[str, Any] | None]) -> set[str]:
        """Take away what has retired on all hosts, by their ``status``, or is known to none of them. The
        generations."""
        states: dict[str, set[str]] = {}
        for said in status.values():
            if said is None:
                return set()
            for entry in said["generations"]:
                states.setdefault(entry["name"], set()).add(entry["state"])
        services = self._swarm.ours()
        generations = {service.generation for service in services}
        retired = {generation for generation in generations if states.get(generation, set()) <= {"retired"}}
        self._remove(services, retired)
        return retired

    def _remove(self, services: Sequence[Service], generations: set[str]) -> None:
        """Take generations away from the hosts, by the ``services`` that there are; from others nothing is
        taken that may be at work there."""
        swarm, nodes = self._swarm, self._here() if generations else []
        for generation in generations:
            label = swarm.labels.generation(generation)
            own = [node for node in nodes if node.host in self._environment.hosts]
            elsewhere = [node for node in nodes if node not in own and node.labels.get(label) != AWAY]
            if not elsewhere:
                for name in swarm.remove(one for one in services if one.generation == generation):
                    self._tell(next(iter(self._environment.hosts)), "Have the Swarm remove a service", name)
            for node in own if elsewhere else nodes:
                swarm.label(node, {label: AWAY if elsewhere else None})

    def _gone(self, name: str, generation: str) -> None:
        """Wait until nothing of a generation is left on a host; what its Swarm has not ended by then is ended
        there: it may be that the two do not hear of each other."""
        listing = ("docker", "ps", "--all", "--quiet", "--filter")
        which = f"label=com.docker.compose.project={self._project}-{generation}"
        end = time.monotonic() + GONE_SECONDS
        while found := self._ask(name, *listing, which, "--filter", "status=running").output.split():
            if time.monotonic() >= end:
                self._ask(name, "docker", "rm", "--force", *found)
                return
            time.sleep(GONE_POLL)
