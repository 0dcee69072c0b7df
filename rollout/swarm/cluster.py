"""What a Swarm is asked and told, by ``docker`` on whichever of its managers answers."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rollout.build.hosts import TIMED_OUT, UNREACHABLE, Answer
from rollout.errors import EngineError
from rollout.units import count

LEADER_SECONDS: Final = 60.0
"""So long managers may take to agree on one who leads; an election takes some."""
LEADER_POLL: Final = 1.0
SILENT: Final = (UNREACHABLE, TIMED_OUT)
"""Exit statuses where a manager has not answered at all."""
# https://github.com/moby/moby/blob/v20.10.24/daemon/cluster/errors.go, and what swarmkit's raft and gRPC say.
LEADERLESS: Final = re.compile(
    r"not a swarm manager|does not have a leader|few managers|code = (Unavailable|DeadlineExceeded)"
    r"|deadline exceeded|Cannot connect to the Docker daemon|no elected primary|lost leader|raft: "
)
GONE: Final = re.compile(r"no such (service|node)|not found", re.IGNORECASE)
OVERTAKEN: Final = re.compile(r"update out of sequence|doesn't exist in node's labels")
TRIES: Final = 5
TAKEN: Final = "name conflicts with an existing object"
PROJECT: Final = "rollout.project"
GENERATION: Final = "rollout.generation"
"""Labels of a service that tell what it is of."""
AWAY: Final = "away"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a Swarm. ``host``: what the configuration calls it; "" where that is not known."""

    id: str
    host: str
    labels: Mapping[str, str]
    manager: bool
    state: str
    """``ready``, ``down``, ``disconnected``, or, for a while after another manager leads, ``unknown``."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a Swarm runs. ``project`` and ``generation`` are "" for one that is not ours."""

    name: str
    project: str
    generation: str
    image: str
    arguments: tuple[str, ...]
    volumes: tuple[str, ...]


class Labels:
    """The labels of nodes by which a project's services find their places."""

    def __init__(self, project: str) -> None:
        self.here = f"terminals.{project}"
        """``yes``: the project's generations run there."""
        self.host = f"terminals.{project}.host"
        """What the configuration calls the node."""
        self._project = project

    def generation(self, name: str) -> str:
        """``away``: that generation does not run there, or not yet."""
        return f"terminals.{self._project}.{name}"


class Swarm:
    """The Swarm of a project, asked through its managers."""

    def __init__(
        self, project: str, managers: Sequence[str], ask: Callable[[str, Sequence[str]], Answer]
    ) -> None:
        """``ask``: runs a command on one of the ``managers``, by its name, and raises nothing."""
        self.project = project
        self.labels = Labels(project)
        self._managers = list(managers)
        self._ask = ask

    def tell(self, *words: str) -> str:
        """What a command prints on the first manager that has, or knows, a leader.

        While none has, as when the leader was lost just now, all are asked again.

        Raises:
            EngineError: it failed, or no manager has answered in time.
        """
        end = time.monotonic() + LEADER_SECONDS
        while True:
            said = []
            for host in list(self._managers):
                answer = self._ask(host, words)
                if answer.status == 0:
                    # It is asked first from now on.
                    self._managers.sort(key=host.__ne__)
                    return answer.output
                text = answer.reason
                if answer.status not in SILENT and not LEADERLESS.search(text):
                    raise EngineError(f"{host}: {shlex.join(words[:3])}: {text[-300:]}")
                said.append(f"{host}: {text[-200:]}")
            if time.monotonic() >= end:
                lost = count(len(said), "manager")
                raise EngineError(
                    f"the Swarm has no leader: none of {lost} answers ({'; '.join(said)}); a Swarm goes on as"
                    " long as more than half of its managers are there, and what runs runs on without them"
                )
            time.sleep(LEADER_POLL)

    # --- nodes ------------------------------------------------------------------------------

    def nodes(self) -> list[Node]:
        """All machines of the Swarm."""
        return [self._node(facts) for facts in self._all("node", "{{json .}}")]

    def label(self, node: Node, labels: Mapping[str, str | None]) -> bool:
        """Set labels of a node, and take away those that are ``None``. Whether any was otherwise.

        A Swarm changes nodes, too, and refuses what was meant for the one before; and of a change whose
        answer was lost nobody knows whether it was made. It is looked at anew then.
        """
        changed = False
        for attempt in range(TRIES):
            if not (words := changes(node.labels, labels)):
                break
            changed = True
            try:
                self.tell("docker", "node", "update", *words, node.id)
                break
            except EngineError as error:
                if attempt == TRIES - 1 or not OVERTAKEN.search(str(error)):
                    raise
            node = next((other for other in self.nodes() if other.id == node.id), node)
        return changed

    def _all(self, kind: str, form: str) -> list[dict[str, Any]]:
        """What the Swarm says of all nodes, or all services."""
        script = (
            f"all=$(docker {kind} ls --quiet) || exit;"
            f" [ -z \"$all\" ] || docker {kind} inspect --format '{form}' $all"
        )
        for attempt in range(TRIES):
            try:
                return [json.loads(line) for line in self.tell("sh", "-c", script).splitlines()]
            except EngineError as error:
                # One that somebody has removed since it was listed.
                if attempt == TRIES - 1 or not GONE.search(str(error)):
                    raise
        raise AssertionError

    def _node(self, facts: dict[str, Any]) -> Node:
        labels = dict(facts["Spec"].get("Labels") or {})
        return Node(
            facts["ID"],
            labels.get(self.labels.host, ""),
            labels,
            facts["Spec"]["Role"] == "manager",
            facts["Status"]["State"],
        )

    # --- services ---------------------------------------------------------------------------

    def services(self) -> list[Service]:
        """All that the Swarm runs, other people's services too."""
        return [_service(spec) for spec in self._all("service", "{{json .Spec}}")]

    def ours(self) -> list[Service]:
        """Those of the project.

        Raises:
            EngineError: the Swarm runs what has the shells' volumes: it would end them as it sees fit.
        """
        services = self.services()
        for service in services:
            own = service.project == self.project
            if own and service.arguments[:1] in (("worker",), ("web",)):
                continue
            volumes = [volume for volume in service.volumes if volume.startswith(f"{self.project}_")]
            if own or volumes:
                what = volumes[0] if volumes else " ".join(service.arguments[:1]) or "no command"
                raise EngineError(
                    f"the Swarm runs the service {service.name} ({what}): a Swarm ends what it runs when it"
                    f" loses sight of a host, and shells must not end; remove it: docker service rm"
                    f" {service.name}"
                )
        return [service for service in services if service.project == self.project]

    def why_not(self, generation: str) -> str:
        """What the Swarm says of a generation's containers that it could not start, to be put behind what
        went wrong; "" where it says nothing."""
        words = ("docker", "service", "ps", "--no-trunc", "--format", "{{.Node}}: {{.Error}}")
        try:
            mine = (one for one in self.services() if one.project == self.project)
            names = [service.name for service in mine if service.generation == generation]
            said = self.tell(*words, *names).splitlines() if names else []
        except EngineError:
            return ""
        errors = dict.fromkeys(line for line in said if line.partition(": ")[2])
        return f"; the Swarm says: {'; '.join(errors)[:300]}" if errors else ""

    def create(self, name: str, image: str, words: Sequence[str]) -> bool:
        """Have a service. Whether there was none of that name.

        Raises:
            EngineError: there is one that runs another image.
        """
        try:
            self.tell(*words)
        except EngineError as error:
            if TAKEN not in str(error):
                raise
        else:
            return True
        found = next((service.image for service in self.services() if service.name == name), image)
        if found != image:
            raise EngineError(f"the service {name} is there already, and runs {found}, not {image}")
        return False

    def remove(self, services: Iterable[Service]) -> list[str]:
        """Remove services; their containers end on all nodes that the Swarm reaches. The names of them."""
        names = [service.name for service in services]
        for name in names:
            try:
                self.tell("docker", "service", "rm", name)
            except EngineError as error:
                if not GONE.search(str(error)):
                    raise
        return names


def changes(labels: Mapping[str, str], wanted: Mapping[str, str | None]) -> list[str]:
    """The options that make labels what is wanted."""
    words: list[str] = []
    for key, value in wanted.items():
        if value is None and key in labels:
            words += ["--label-rm", key]
        elif value is not None and labels.get(key) != value:
            words += ["--label-add", f"{key}={value}"]
    return words


def _service(spec: dict[str, Any]) -> Service:
    labels = spec.get("Labels") or {}
    container = spec["TaskTemplate"].get("ContainerSpec") or {}
    mounts = container.get("Mounts") or ()
    return Service(
        spec["Name"],
        labels.get(PROJECT, ""),
        labels.get(GENERATION, ""),
        container.get("Image", ""),
        tuple(container.get("Args") or ()),
        tuple(mount.get("Source", "") for mount in mounts),
    )
