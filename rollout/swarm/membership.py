"""Making a Swarm of an environment's hosts, or bringing them into the one that some of them are in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.build.hosts import Answer
from rollout.config import Environment
from rollout.errors import EngineError
from rollout.swarm.cluster import LEADER_POLL, LEADER_SECONDS, Node, Swarm, changes
from rollout.swarm.words import network, network_here

PORTS: Final = (2377, 7946)
"""TCP: at the first managers are reached, at the second nodes tell each other who is there."""
UDP_PORTS: Final = (7946,)
"""The same talk, of which most goes this way."""
HEARTBEAT_SECONDS: Final = 300
"""A node is given up after three of these, and what ran on it is ended when it comes back. With the usual
five seconds a cable that was out for 25 s costs every task; nothing of ours is ever started elsewhere, so
that finding out late costs nothing."""
NETWORKS: Final = ("docker", "network", "ls", "--format", "{{.Name}}")
NO_LEADER: Final = "does not have a leader"
"""Of what a manager says to who wants to join, while there is an election."""
Tell = Callable[[str, str], None]
"""Host, and what was done there."""


@dataclass(frozen=True, slots=True)
class Member:
    """What a host's engine says of itself in a Swarm. ``state``: "" where no engine answers."""

    state: str = ""
    node: str = ""
    manager: bool = False

    @property
    def inside(self) -> bool:
        """Whether it belongs to a Swarm, if only one that it does not reach."""
        return self.state not in ("", "inactive")


class Membership:
    """Brings the hosts of an environment to where they are nodes of one Swarm."""

    def __init__(
        self,
        environment: Environment,
        swarm: Swarm,
        *,
        at_once: Callable[[Sequence[str], Callable[[str], Any]], dict[str, Any]],
        ask: Callable[[str, Sequence[str]], Answer],
        tell: Tell,
        check: bool,
    ) -> None:
        """``ask`` runs a command on a host; ``at_once`` does the same on several. With ``check`` nothing is
        changed, and all that would be is told."""
        self._environment = environment
        self._hosts = list(environment.hosts)
        self._managers = environment.swarm_managers
        self._swarm = swarm
        self._at_once = at_once
        self._ask = ask
        self._tell = tell
        self._check = check

    def look(self) -> tuple[dict[str, Member], str]:
        """What the hosts are, and the one by which others join. Nothing is changed.

        Raises:
            EngineError: a host is in another Swarm, or the Swarm has what holds shells.
        """
        members: dict[str, Member] = self._at_once(self._hosts, self._member)
        first = [*self._managers, *self._hosts]
        seed = next((host for host in first if members[host].manager), first[0])
        there = members[seed].inside
        known = {node.id for node in self._swarm.nodes()} if there else set()
        strange = [host for host in self._hosts if members[host].inside and members[host].node not in known]
        # Of a host whose engine does not answer it is not known whether it is the one that manages.
        silent = [host for host in self._managers if not members[host].state]
        if strange and silent:
            whose = f"{', '.join(silent)}, which may manage it, does not answer"
            look = f"look at: rollout doctor {self._environment.name}"
            raise EngineError(f"{strange[0]}: it is in a Swarm, and {whose}; {look}")
        if strange:
            raise EngineError(
                f"{strange[0]}: it is in a Swarm that {self._environment.name} knows no manager of; if"
                " nothing of that is needed, there: docker swarm leave --force"
            )
        if there:
            self._swarm.ours()
        return members, seed

    def bring(self) -> None:
        """Do all that is to be done.

        Raises:
            EngineError: as :meth:`look` does, or something failed.
        """
        members, seed = self.look()
        if not members[seed].inside:
            self._do(seed, "Make a Swarm", *_init(self._environment.address(seed)))
        self._join([host for host in self._hosts if host != seed and not members[host].inside], seed)
        self._at_once(self._hosts, self._have_network_here)
        if self._check and not members[seed].inside:
            return
        self._settle(seed)

    # --- steps ------------------------------------------------------------------------------

    def _join(self, hosts: Sequence[str], seed: str) -> None:
        roles = {host: self._role(host) for host in hosts}
        if self._check:
            for host, role in roles.items():
                self._tell(host, f"Join the Swarm, as {role}")
            return
        # One after the other: managers that come at once ask each other for a majority that is not there yet.
        try:
            for host, role in roles.items():
                token = self._swarm.tell("docker", "swarm", "join-token", "--quiet", role).strip()
                address, to = self._environment.address(host), f"{self._environment.address(seed)}:2377"
                words = ("docker", "swarm", "join", "--token", token, "--advertise-addr", address, to)
                self._do_with_a_leader(host, f"Join the Swarm, as {role}", *words)
        finally:
            for role in set(roles.values()):
                # For a moment they stood on a command line, which is public on that host.
                self._swarm.tell("docker", "swarm", "join-token", "--rotate", "--quiet", role)

    def _settle(self, seed: str) -> None:
        """What only a manager can change: how long nodes are waited for, roles, labels, the network."""
        swarm = self._swarm
        # Who is no manager, or hears of no leader, says nothing of it and calls that an answer.
        script = "docker node ls --quiet >/dev/null && docker info --format '{{json .Swarm.Cluster}}'"
        facts = json.loads(swarm.tell("sh", "-c", script))
        if facts["Spec"]["Dispatcher"]["HeartbeatPeriod"] != HEARTBEAT_SECONDS * 10**9:
            words = ("docker", "swarm", "update", "--dispatcher-heartbeat", f"{HEARTBEAT_SECONDS}s")
            self._do(seed, "Have the Swarm wait for nodes it does not hear of", *words)
        members: dict[str, Member] = self._at_once(self._hosts, self._member)
        nodes = {node.id: node for node in swarm.nodes()}
        for host in self._hosts:
            node = nodes.get(members[host].node)
            if node is None:  # with check: it has not joined
                continue
            self._have_labels(host, node)
            if self._role(host) == "manager" and not node.manager:
                self._have_role(host, "promote", node)
        for host in self._hosts:
            # Only where it was said: others may have made it one, and a majority is not to be risked for a
            # rule of ours.
            node = nodes.get(members[host].node)
            if node is not None and node.manager and self._environment.hosts[host].swarm == "worker":
                self._have_role(host, "demote", node)
        self._forget_gone(seed, nodes, members)
        name = network(swarm.project)
        if name not in swarm.tell(*NETWORKS).split():
            source = network_here(swarm.project)
            kind = ("--driver", "bridge", "--scope", "swarm", "--internal", "--config-from", source)
            self._do(seed, "Make the network that leads nowhere", "docker", "network", "create", *kind, name)

    def _have_role(self, host: str, way: str, node: Node) -> None:
        what = f"Make it a {self._role(host)} of the Swarm"
        self._do_by_manager(host, what, "docker", "node", way, node.id)

    def _have_labels(self, host: str, node: Node) -> None:
        labels = self._swarm.labels
        region = self._environment.hosts[host].region
        wanted: dict[str, str | None] = {labels.here: "yes", labels.host: host}
        if region is not None:
            wanted["region"] = region
        if changes(node.labels, wanted):
            if not self._check:
                self._swarm.label(node, wanted)
            self._tell(host, "Label the node")

    def _forget_gone(self, seed: str, nodes: Mapping[str, Node], members: Mapping[str, Member]) -> None:
        """A machine that was set up anew has left what it was before, as a node that never comes back."""
        for node in nodes.values():
            now = members.get(node.host, Member()).node
            if now and now != node.id:
                what = f"Forget what {node.host} was before"
                if node.manager:
                    self._do_by_manager(seed, what, "docker", "node", "demote", node.id)
                self._do_by_manager(seed, what, "docker", "node", "rm", "--force", node.id)

    def _have_network_here(self, host: str) -> None:
        name = network_here(self._swarm.project)
        if name in self._ask(host, NETWORKS).output.split():
            return
        # Nobody there reaches anybody else, nor the host: on its side the network has no address.
        options = ("enable_icc=false", "inhibit_ipv4=true")
        words = [word for option in options for word in ("--opt", f"com.docker.network.bridge.{option}")]
        what = "Have what the network that leads nowhere is made from"
        self._do(host, what, "docker", "network", "create", "--config-only", *words, name)

    # --- one host ---------------------------------------------------------------------------

    def _member(self, host: str) -> Member:
        answer = self._ask(host, ("docker", "info", "--format", "{{json .Swarm}}"))
        try:
            said = json.loads(answer.output)
        except ValueError:
            return Member()
        return Member(
            said.get("LocalNodeState", ""),
            said.get("NodeID", ""),
            bool(said.get("ControlAvailable")),
        )

    def _role(self, host: str) -> str:
        return "manager" if host in self._managers else "worker"

    def _do(self, host: str, what: str, *words: str) -> None:
        if not self._check:
            answer = self._ask(host, words)
            if answer.status != 0:
                raise EngineError(f"{host}: {what}: {answer.reason[-300:]}")
        self._tell(host, what)

    def _do_with_a_leader(self, host: str, what: str, *words: str) -> None:
        """What a host is told that asks the leader, where there may be none for the moment."""
        end = time.monotonic() + LEADER_SECONDS
        while True:
            try:
                self._do(host, what, *words)
                return
            except EngineError as error:
                if NO_LEADER not in error.message or time.monotonic() >= end:
                    raise
            time.sleep(LEADER_POLL)

    def _do_by_manager(self, host: str, what: str, *words: str) -> None:
        if not self._check:
            self._swarm.tell(*words)
        self._tell(host, what)


def _init(address: str) -> list[str]:
    heartbeat = f"{HEARTBEAT_SECONDS}s"
    return ["docker", "swarm", "init", "--advertise-addr", address, "--dispatcher-heartbeat", heartbeat]
