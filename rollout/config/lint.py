"""Relations between keys: what is well-formed, and still could never work or would decide nothing.

Every problem names the place to change, so that the error can show its line and column.
"""

from __future__ import annotations

import math
import os
import pwd
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

from terminals.monitor.config import CHECKED

from rollout.config.document import Place
from rollout.config.enough import enough
from rollout.config.model import Config, Environment, Gate, Listen
from rollout.config.sources import source_problems
from rollout.config.wording import suggestion
from rollout.units import duration

ROOT_LIMIT = 80
"""Characters of a host's root: unix sockets live below it, and the kernel allows 107 for their whole path."""
LOCAL_OR_ALL = ("127.0.0.1", "::1", "0.0.0.0", "::")  # noqa: S104
"""What a host may listen at, and where no other machine finds it."""
NOT_OF_A_SWARM = ("docker.restarts",)
NOT_IN_A_ROOT = ("%", ";", "\n", '"')


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a place, and the way out."""

    place: Place
    text: str


def problems(config: Config) -> Iterator[Problem]:
    """Find everything that is wrong with a well-formed configuration."""
    yield from _order(config)
    yield from _addresses(config)
    yield from _doors(config)
    yield from _machines(config)
    yield from _notify(config)
    for environment in config.environments.values():
        place: Place = ("environments", environment.name)
        for found in (
            *_engine(environment),
            *_lost(environment),
            *_tags(config, environment),
            *_peers(environment),
            *_door(environment),
            *_swarm(environment),
            *_canary(environment),
            *_times(environment),
            *_leaving(config, environment),
            *_gates(environment),
            *_enough(environment),
            *_monitor(environment),
            *(Problem(at, text) for at, text in source_problems(config, environment)),
        ):
            yield Problem((*place, *found.place), found.text)


def _order(config: Config) -> Iterator[Problem]:
    names = config.environments
    for environment in names.values():
        place: Place = ("environments", environment.name, "after")
        if environment.after is None:
            continue
        if environment.after not in names:
            yield Problem(
                place, f'no environment "{environment.after}"; {suggestion(environment.after, list(names))}'
            )
            continue
        seen = [environment.name]
        step: str | None = environment.after
        while step in names:
            seen.append(step)
            if step == environment.name:
                yield Problem(place, f"a circle: {' after '.join(seen)}; one of them must be after nothing")
                break
            if step in seen[:-1]:
                break
            step = names[step].after


def _addresses(config: Config) -> Iterator[Problem]:
    ports: dict[int, str] = {}
    roots: dict[str, str] = {}
    seen: list[tuple[str, Path, str]] = []
    for environment in config.environments.values():
        place: Place = ("environments", environment.name)
        for where, listen in _listens(environment):
            for key in ("system", "claude", "web"):
                port = getattr(listen, key)
                if port in ports:
                    yield Problem(
                        (*place, *where, key), f"port {port} is taken by {ports[port]}; choose another"
                    )
                ports.setdefault(port, ".".join(("environments", environment.name, *where, key)))
        for host in environment.hosts.values():
            root = str(host.root)
            at: Place = (*place, "hosts", host.name, "root")
            if environment.containers:
                root = f"{host.ssh or host.name}:{root}"
            elif len(root) > ROOT_LIMIT:
                yield Problem(
                    at,
                    f"{root} is {len(root)} characters long; sockets below it leave room for {ROOT_LIMIT}: "
                    "choose a shorter directory",
                )
            elif bad := next((sign for sign in NOT_IN_A_ROOT if sign in root), None):
                text = f"{root} has {bad!r} in it, which means something else in a supervisor's configuration"
                yield Problem(at, f"{text}: choose another directory")
            machine = f"{host.ssh or host.name}" if environment.containers else ""
            yield from _alone(config, at, machine, host.root, seen)
            seen.append((machine, host.root, f"environments.{environment.name}.hosts.{host.name}"))
            if root in roots:
                yield Problem(at, f"{root} is the root of {roots[root]} already; every host needs its own")
            roots.setdefault(root, f"environments.{environment.name}.hosts.{host.name}")


def _doors(config: Config) -> Iterator[Problem]:
    """Doors of several environments may be on one machine, each with a directory and a port of its own."""
    ports: dict[tuple[str, int], str] = {}
    seen: list[tuple[str, Path, str]] = []
    for environment in config.environments.values():
        if environment.door is None:
            continue
        port = environment.door.port
        place: Place = ("environments", environment.name, "door")
        for name, host in environment.door.hosts.items():
            machine, at = host.ssh or name, (*place, "hosts", name)
            yield from _alone(config, (*at, "root"), machine, host.root, seen)
            if any((machine, host.root) == other[:2] for other in seen):
                yield Problem((*at, "root"), f"{host.root} is that of another door there; each needs its own")
            seen.append((machine, host.root, f"environments.{environment.name}.door.hosts.{name}"))
            other = ports.setdefault((machine, port), environment.name)
            if other != environment.name:
                text = f"port {port} of {machine} is the door's of {other}; choose another"
                yield Problem((*place, "port"), text)


def _machines(config: Config) -> Iterator[Problem]:
    """What an engine is set up for holds for the whole machine."""
    engines: dict[str, Environment] = {}
    for environment in config.environments.values():
        for name, host in environment.hosts.items() if environment.containers else ():
            other = engines.setdefault(host.ssh or name, environment)
            if other.engine != environment.engine:
                yield Problem(
                    ("environments", environment.name, "hosts", name),
                    f"is a host of {other.name}, too, with engine {other.engine}: a node of a Swarm has no"
                    " live-restore, which that engine is for; give both the same engine",
                )


def _alone(
    config: Config, at: Place, machine: str, root: Path, seen: Sequence[tuple[str, Path, str]]
) -> Iterator[Problem]:
    """What a teardown would take along is nothing but the environment."""
    if not machine:
        root = root.resolve()
    if root == Path("/") or (not machine and _home().is_relative_to(root)):
        yield Problem(at, f"{root} is no directory to give away; name one that only this environment has")
    elif not machine and config.state.resolve().is_relative_to(root):
        yield Problem(at, f"{root} has the state in it ({config.state}); name a directory beside it")
    elif not machine and config.path.resolve().is_relative_to(root):
        yield Problem(at, f"{root} has {config.path.name} in it; name a directory below")
    for other, there, name in seen:
        there = there if machine else there.resolve()
        if other == machine and root != there and (root.is_relative_to(there) or there.is_relative_to(root)):
            yield Problem(at, f"{root} and {there}, the root of {name}, are one in the other; part them")


def _home() -> Path:
    return Path(pwd.getpwuid(os.getuid()).pw_dir).resolve()


def _notify(config: Config) -> Iterator[Problem]:
    for environment in config.environments.values():
        for index, name in enumerate(environment.notify):
            if name not in config.notify:
                yield Problem(
                    ("environments", environment.name, "notify", index),
                    f'nobody is called "{name}" in notify; {suggestion(name, list(config.notify))}'
                    if config.notify
                    else f'nobody is called "{name}"; add them to notify at the top of the file',
                )


def _listens(environment: Environment) -> Iterator[tuple[tuple[str, ...], Listen]]:
    """Every set of ports that is used on this machine, and where it stands."""
    if environment.engine != "process":
        return  # each host is a machine of its own
    own = [host for host in environment.hosts.values() if host.listen is not None]
    for host in environment.hosts.values():
        if host.listen is not None:
            yield ("hosts", host.name, "listen"), host.listen
    for _ in range(len(environment.hosts) - len(own)):
        yield ("listen",), environment.listen


def _engine(environment: Environment) -> Iterator[Problem]:
    """What only one of the engines knows."""
    if environment.containers:
        for place in _tls(environment):
            yield Problem(
                (*place, "tls"),
                "containers have no certificate; end TLS in a proxy there and name it in trusted_proxies",
            )
        return
    if "limits" in environment.model_fields_set:
        yield Problem(("limits",), "the engine process has no containers to limit; use engine: docker")
    if "logs" in environment.model_fields_set:
        yield Problem(("logs",), "the engine process has no containers with logs; use engine: docker")
    if environment.firewall:
        yield Problem(("firewall",), "the engine process sets no host up; use engine: docker")
    if "infra" in environment.checks:
        yield Problem(
            ("checks", environment.checks.index("infra")),
            "infra looks at containers; use engine: docker, or leave it out",
        )
    for host in environment.hosts.values():
        for key in ("ssh", "address"):
            if getattr(host, key) is not None:
                yield Problem(
                    ("hosts", host.name, key), "the engine process runs on this machine; use engine: docker"
                )


def _enough(environment: Environment) -> Iterator[Problem]:
    """Of what the hosts measure that are there."""
    there = environment.without_lost()
    if there.hosts:
        yield from (Problem(at, text) for at, text in enough(there))


def _lost(environment: Environment) -> Iterator[Problem]:
    if all(host.lost for host in environment.hosts.values()):
        yield Problem(("hosts",), "all of them are stated to be lost; there is nothing to go on with")


def _tls(environment: Environment) -> Iterator[Place]:
    if environment.listen.tls:
        yield ("listen",)
    for host in environment.hosts.values():
        if host.listen and host.listen.tls:
            yield ("hosts", host.name, "listen")


def _tags(config: Config, environment: Environment) -> Iterator[Problem]:
    """Sessions that are found from any host of an environment."""
    tags = {name: host.tag for name, host in environment.hosts.items()}
    if not any(tags.values()) or len(tags) == 1:
        return
    place: Place = ("hosts",)
    first: dict[str, str] = {}
    for name, tag in tags.items():
        if tag is None:
            yield Problem((*place, name), "has no tag, and others have; give each host one, or none")
        elif first.setdefault(tag, name) != name:
            yield Problem((*place, name, "tag"), f"is that of {first[tag]}, too; each host has its own")
    if len(first) < len(tags):
        return
    if not environment.containers or environment.vault is None:
        yield Problem(
            place,
            "with tags, a client goes from host to host with the same credentials: the token has to be one"
            " for all, terminals_docker_token of a vault (engine docker)",
        )


def _peers(environment: Environment) -> Iterator[Problem]:
    """Hosts that ask each other how they are."""
    asked = [name for name in environment.hosts if environment.listens(name).peers is not None]
    if not asked:
        if environment.authority is not None:
            yield Problem(("authority",), "no host asks another one; say at which port: listen.peers")
        if environment.last_screens is not None:
            yield Problem(("last_screens",), "no host knows another one; say how: listen.peers, authority")
        return
    if not environment.containers:
        yield Problem(("listen", "peers"), "hosts of the engine process are this machine; use engine: docker")
    if len(environment.hosts) == 1:
        yield Problem(("listen", "peers"), "there is no other host that would ask; leave it out")
    if environment.authority is None:
        files = "authority: {certificate: hosts-ca.pem, key: hosts-ca.key}"
        yield Problem(
            ("listen", "peers"),
            f"hosts know each other by certificates; say where their authority is, e.g. {files},"
            f" and make it: rollout certify {environment.name}",
        )
    for name, host in environment.hosts.items():
        listen = environment.listens(name)
        if listen.peers is None:
            yield Problem(("hosts", name, "listen"), "has no port peers, at which others would ask this host")
        elif listen.peers in (listen.system, listen.claude, listen.web):
            where = ("hosts", name) if host.listen else ()
            yield Problem((*where, "listen", "peers"), f"port {listen.peers} is another's; choose another")
        if host.tag is None:
            yield Problem(("hosts", name), "has no tag, by which hosts know each other; give it one: tag")
        if host.address is None and listen.host in LOCAL_OR_ALL:
            yield Problem(("hosts", name), "has no address, at which others reach it; give it one: address")


def _door(environment: Environment) -> Iterator[Problem]:
    """One address for all hosts."""
    door = environment.door
    if door is None:
        return
    if not environment.containers:
        yield Problem(("door",), "hosts of the engine process are this machine; use engine: docker")
    machines = {host.ssh or name for name, host in environment.hosts.items()}
    for name, there in door.hosts.items():
        if (there.ssh or name) in machines:
            text = "is a host of this environment, to which all people would come from one address"
            yield Problem(("door", "hosts", name), f"{text}; a door needs a machine of its own")
    for name, host in environment.hosts.items():
        address = environment.address(name)
        if host.tag is None:
            text = "has no tag, by which the door tells hosts apart; give it one: tag"
            yield Problem(("hosts", name), text)
        if address in LOCAL_OR_ALL:
            text = "has no address, at which the door reaches it; give it one: address"
            yield Problem(("hosts", name), text)
        elif ":" in address:
            text = f"{address}: the door's container has no IPv6; give its IPv4 address, or a name"
            yield Problem(("hosts", name, "address"), text)


def _swarm(environment: Environment) -> Iterator[Problem]:
    """Hosts that are nodes of a Docker Swarm."""
    said = {name: host.swarm for name, host in environment.hosts.items() if host.swarm is not None}
    if environment.engine != "swarm":
        for name in said:
            text = f"the engine {environment.engine} has no Swarm; use engine: swarm, or leave it out"
            yield Problem(("hosts", name, "swarm"), text)
        return
    for name in environment.hosts:
        address = environment.address(name)
        if address in LOCAL_OR_ALL:
            text = "has no address, at which other nodes of the Swarm reach it; give it one: address"
            yield Problem(("hosts", name), text)
        elif not _ip(address):
            text = f"{address}: nodes of a Swarm know each other by IP addresses; give this one's"
            yield Problem(("hosts", name, "address"), text)
    managers = environment.swarm_managers
    if not managers:
        yield Problem(("hosts",), "none manages the Swarm; make one, or three: swarm: manager")
    elif len(managers) % 2 == 0:
        yield Problem(
            ("hosts", managers[-1]),
            f"{len(managers)} managers of a Swarm survive no more losses than {len(managers) - 1}; make it"
            " one less, or one more",
        )
    for index, gate in enumerate(environment.gates):
        if gate.metric in NOT_OF_A_SWARM:
            yield Problem(
                ("gates", index, "metric"),
                f"a Swarm makes containers anew, and {gate.metric} would always be 0; leave it out",
            )


def _ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _canary(environment: Environment) -> Iterator[Problem]:
    steps = environment.canary
    for index, (step, following) in enumerate(pairwise(steps)):
        if following.weight <= step.weight:
            yield Problem(
                ("canary", index + 1, "weight"),
                f"{following.weight} after {step.weight}; each step must carry more than the one before",
            )
    if steps[-1].weight != 100:
        yield Problem(
            ("canary", len(steps) - 1, "weight"),
            f"the last step ends at {steps[-1].weight}; it must end at 100",
        )
    shifting = [gate for gate in environment.gates if gate.on != "checks" and gate.about.source != "checks"]
    for index, step in enumerate(steps):
        if shifting and step.hold == 0:
            yield Problem(
                ("canary", index),
                f'nothing is held here, so the gate "{shifting[0].name}" would see no evidence; '
                "add a hold, e.g. 30s",
            )


def _times(environment: Environment) -> Iterator[Problem]:
    longest = max(step.hold for step in environment.canary)
    if environment.max_hold < longest:
        yield Problem(
            ("max_hold",),
            f"{duration(environment.max_hold)} is shorter than a hold of {duration(longest)}; "
            "an inconclusive gate must be allowed to wait at least as long",
        )
    if environment.move.interval > environment.move.deadline:
        yield Problem(
            ("move", "interval"),
            "longer than the deadline, so only one batch would ever move; make it shorter",
        )
    if len(set(environment.checks)) != len(environment.checks):
        yield Problem(("checks",), "a suite is named twice; remove one")


def _leaving(config: Config, environment: Environment) -> Iterator[Problem]:
    """What only a monitor sees, and whom there is to tell."""
    for index, gate in enumerate(environment.soak_gates):
        place: Place = ("soak_gates", index)
        suite = gate.metric.partition(".")[0]
        if gate.about.source == "checks" and suite not in environment.checks:
            yield Problem((*place, "metric"), f"{gate.metric} needs the suite; add {suite} to checks:")
        elif gate.about.source not in ("monitor", "checks", "prometheus", "junit"):
            yield Problem(
                (*place, "metric"), f"{gate.metric} is not known any more when a build leaves; make it a gate"
            )
        yield from _each(environment, gate, place)
        yield from _threshold(gate, place)
    names = Counter(gate.name for gate in environment.soak_gates)
    for index, gate in enumerate(environment.soak_gates):
        if names[gate.name] > 1:
            yield Problem(("soak_gates", index), f'another soak gate is called "{gate.name}" too; rename one')
    for index, name in enumerate(environment.notify):
        if name not in config.notify:
            yield Problem(
                ("notify", index),
                f'nobody is called "{name}" in notify; {suggestion(name, list(config.notify))}',
            )
    if environment.takeback and environment.monitor is None:
        yield Problem(("takeback",), "it is the monitor that takes back; add monitor:")
    if environment.takeback and len(environment.hosts) > 1:
        yield Problem(
            ("takeback",),
            "a host alone would leave the others behind with the bad build; run rollout soak"
            f" {environment.name} on any machine instead",
        )


def _monitor(environment: Environment) -> Iterator[Problem]:
    monitor = environment.monitor
    if monitor is None:
        return
    place: Place = ("monitor", "profiles")
    if monitor.profiles is not None and not monitor.profiles:
        yield Problem(place, "nothing would be checked; name a profile, or leave it out for all")
    for index, name in enumerate(monitor.profiles or ()):
        if name not in environment.profiles:
            yield Problem((*place, index), f"{name} is not among the profiles of this environment")
    names = Counter(alert.name for alert in monitor.alerts)
    for index, alert in enumerate(monitor.alerts):
        place = ("monitor", "alerts", index)
        if names[alert.name] > 1:
            yield Problem(
                place, f'another alert is called "{alert.name}" too; give this one a name of its own'
            )
        if alert.profile is not None and alert.metric not in CHECKED:
            yield Problem(
                (*place, "profile"), f"{alert.metric} is counted by generation, not by profile; leave it out"
            )


def _gates(environment: Environment) -> Iterator[Problem]:
    names = Counter(gate.name for gate in environment.gates)
    for index, gate in enumerate(environment.gates):
        place: Place = ("gates", index)
        if names[gate.name] > 1:
            yield Problem(place, f'another gate is called "{gate.name}" too; give this one a name of its own')
        yield from _evidence(environment, gate, place)
        yield from _each(environment, gate, place)
        yield from _threshold(gate, place)


def _evidence(environment: Environment, gate: Gate, place: Place) -> Iterator[Problem]:
    """Nobody would measure it: such a gate is inconclusive for ever."""
    metric = gate.about
    suite = metric.name.partition(".")[0]
    if metric.source == "load" and environment.load is None:
        yield Problem((*place, "metric"), f"{metric.name} needs users; add load: to this environment")
    if metric.source == "checks" and suite not in environment.checks:
        yield Problem((*place, "metric"), f"{metric.name} needs the suite; add {suite} to checks:")
    if metric.source == "checks" and gate.on == "shift":
        yield Problem((*place, "on"), "checks run once the shift is done; use on: checks")
    counted = metric.source == "generation" and metric.kind == "count"
    if counted and gate.on != "checks" and environment.load is None:
        yield Problem(
            (*place, "metric"), f"{metric.name} needs someone to attach; add load:, or judge it on: checks"
        )


def _each(environment: Environment, gate: Gate, place: Place) -> Iterator[Problem]:
    """What is measured of one host alone."""
    if gate.each == "all":
        return
    at = (*place, "each")
    if gate.about.source != "load":
        yield Problem(at, f"{gate.metric} is not measured by {gate.each}, or always is; leave it out")
    if gate.compare == "baseline":
        yield Problem(at, "a comparison is of all hosts together; leave it out")
    if gate.each == "region" and any(host.region is None for host in environment.hosts.values()):
        yield Problem(at, "some hosts have no region; give each one: region")


def _threshold(gate: Gate, place: Place) -> Iterator[Problem]:
    """It could never pass, or could never fail."""
    metric, at = gate.about, (*place, "threshold")
    either = metric.better == "either"
    if gate.compare == "baseline":
        if not math.isfinite(gate.threshold) or gate.threshold <= 0:
            yield Problem(at, "expected the ratio to the baseline that is still good, e.g. 1.25")
    elif gate.op == "==" and metric.kind in ("rate", "samples"):
        way = "<=" if metric.better == "lower" else ">="
        yield Problem((*place, "op"), f'{metric.name} is estimated, never exactly equal; use "{way}"')
    elif gate.op != "==" and not either and (gate.op[0] == ">") != (metric.better == "higher"):
        way = ">" if metric.better == "higher" else "<"
        yield Problem(
            (*place, "op"),
            f'"{gate.op}" asks for a bad {metric.name} ({metric.better} is better); use "{way}"',
        )
    elif either and metric.unit == "" and math.isfinite(gate.threshold):
        return  # what a query gives may be anything
    elif not math.isfinite(gate.threshold) or gate.threshold < 0:
        yield Problem(at, "expected a number of 0 or more")
    elif metric.unit == "share" and gate.op == ">" and gate.threshold >= 1:
        yield Problem(at, "nothing is more than all of them; lower it")
    elif metric.kind == "rate" and gate.threshold >= 1:
        yield Problem(at, "no number of observations proves a rate of 1; lower it, e.g. to 0.99")
    elif gate.op == "<" and gate.threshold == 0:
        yield Problem(at, 'nothing is less than 0; use op: "==" or raise it')
