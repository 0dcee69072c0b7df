"""Whether a gate can ever have enough evidence: what it needs, beside what will be measured in its time.

A gate that cannot is inconclusive for ever, which looks like a bad build. Docker Swarm calls an update done
when its monitor period is shorter than a health check takes to fail; the relations here are ours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

from terminals.protocol import STABLE_AFTER

from loadtests import COMMAND_EVERY
from rollout.config.document import Place
from rollout.config.model import Environment, Gate, Load
from rollout.gates import checkpoints, needs
from rollout.gates.trend import COVERED, LEAST
from rollout.units import count, duration, share

Found = Iterator[tuple[Place, str]]
_EVERYBODYS = ("load.bytes_lost", "load.bytes_doubled", "load.commands_twice")
_COMPARED = ("rate", "samples", "count")


def enough(environment: Environment) -> Found:
    """Places of gates and soak gates that could never have enough evidence, and the way out."""
    if not any(gate.severity == "critical" for gate in environment.gates):
        yield ("gates",), "all of them only warn, so nothing could ever pass; make one critical"
    for index, gate in enumerate(environment.gates):
        place: Place = ("gates", index)
        if gate.compare == "baseline":
            yield from _comparison(environment, gate, place)
        elif gate.window is not None and gate.about.source in ("checks", "generation"):
            yield (*place, "window"), f"{gate.metric} has no window: it is of the whole rollout; leave it out"
        if gate.about.source == "monitor":
            yield (*place, "metric"), f"{gate.metric} is known when a build leaves; move it to soak_gates:"
        yield from _load(environment, gate, place)
    for index, gate in enumerate(environment.soak_gates):
        yield from _soak_gate(environment, gate, ("soak_gates", index))


def _comparison(environment: Environment, gate: Gate, place: Place) -> Found:
    metric = gate.about
    if metric.source in ("prometheus", "junit", "docker"):
        return  # rollout.config.sources knows of them
    if metric.source != "load" or metric.kind not in _COMPARED or metric.name.startswith(_EVERYBODYS):
        yield (*place, "compare"), f"nobody measures {gate.metric} on the generation before; leave it out"
    if gate.op not in ("<", "<="):
        yield (*place, "op"), 'with compare: baseline the threshold is how many times worse; use "<"'
    if gate.window is not None:
        yield (*place, "window"), "a comparison is of the time while both serve; leave window out"
    if gate.on == "checks":
        yield (*place, "on"), "a comparison is made while both serve; use on: shift"
    if len(environment.canary) == 1:
        yield (*place, "compare"), "both never serve at the same time; add a canary step below 100"


def _load(environment: Environment, gate: Gate, place: Place) -> Found:
    """What the users' connections and commands have to show, against those that they can make in time: at the
    step that decides, and at the first one, where they are fewest."""
    load, steps = environment.load, environment.canary
    if gate.metric not in _BY_USERS or load is None or gate.compare == "baseline":
        return
    last = 0.0 if gate.on == "checks" else steps[-1].hold
    looks = len(checkpoints(last, environment.max_hold))
    least = _least_part(environment, gate)
    found = _few(environment, gate, load, least, last, looks)
    if not found and gate.on != "checks" and gate.severity == "critical" and len(steps) > 1:
        hosts = min(least, len(environment.host_batches()[0]) / len(environment.hosts))
        found = _few(environment, gate, load, hosts * steps[0].weight / 100, steps[0].hold, 1)
    if found:
        yield (*place, "threshold"), found


def _least_part(environment: Environment, gate: Gate) -> float:
    """What share of the users is at the one host, or in the one region, that has fewest."""
    hosts = environment.hosts.values()
    if gate.each == "region":
        return min(Counter(host.region for host in hosts).values()) / len(hosts)
    return 1 / len(hosts) if gate.each == "host" else 1.0


def _few(environment: Environment, gate: Gate, load: Load, part: float, hold: float, looks: int) -> str:
    """Why a share of the users is too few for a gate at a step of that hold; "" when it is not."""
    wanted = _wanted(gate, looks=looks)
    what, each = _BY_USERS[gate.metric]
    users = math.ceil(load.users * part)
    seconds = min(max(environment.max_hold, hold), gate.window or math.inf)
    likely = users * seconds * each(load)
    if wanted is None or likely >= wanted[0]:
        return ""
    during = "max_hold" if gate.window is None else f"a window of {duration(gate.window)}"
    of = "" if part == 1 else f" of {load.users} at {share(part)}"
    at = f" at one {gate.each}" if gate.each != "all" else ""
    first = "" if part == 1 or part == _least_part(environment, gate) else ", or the first weight"
    return (
        f"{wanted[1]} takes {wanted[0]} {what} without a failure, and {users} users{of}{at} make about"
        f" {likely:.0f} in {during}; raise load.users or max_hold{first}"
    )


def _soak_gate(environment: Environment, gate: Gate, place: Place) -> Found:
    """What a soak gate needs, against the checks that the monitors make in its window."""
    monitor = environment.monitor
    if gate.about.source != "monitor":
        return
    if monitor is None:
        yield (*place, "metric"), f"{gate.metric} needs the monitor; add monitor: to this environment"
        return
    if gate.window is not None and gate.window > environment.soak:
        yield (
            (*place, "window"),
            f"{duration(gate.window)} is longer than the soak of "
            f"{duration(environment.soak)}; lower it, or raise soak",
        )
    if gate.max_age < monitor.every:
        yield (
            (*place, "max_age"),
            f"{duration(gate.max_age)} is shorter than a check every "
            f"{duration(monitor.every)}, so all evidence would be stale; raise it",
        )
    seconds = environment.soak if gate.window is None else gate.window
    profiles = len(environment.profiles if monitor.profiles is None else monitor.profiles)
    each = math.floor(seconds / monitor.every)
    over = f"{duration(seconds)} at every {duration(monitor.every)}"
    if gate.about.kind == "series":
        least = math.ceil(max(LEAST, gate.min_samples) / COVERED)
        if each < least:
            yield place, f"{over} gives {each} readings, a trend needs {least}; raise the window or soak"
        return
    wanted = _wanted(gate)
    checks = each * profiles * len(environment.hosts)
    if wanted is not None and checks < wanted[0]:
        who = count(profiles, "profile")
        who += f" on {len(environment.hosts)} hosts" if len(environment.hosts) > 1 else ""
        yield (
            (*place, "threshold"),
            f"{over} and {who} give {checks} checks; {wanted[1]} needs {wanted[0]} without a failure: raise "
            "the window or soak, or lower the threshold",
        )


def _wanted(gate: Gate, looks: int = 1) -> tuple[int, str] | None:
    """Observations that a gate takes if none of them is bad, and what asks for them."""
    kind = gate.about.kind
    if kind not in ("rate", "samples"):
        return None
    threshold = gate.threshold if kind == "rate" else gate.percentile / 100
    needed = needs.without_failure(threshold, (1 - gate.confidence) / looks) or 0
    if gate.min_samples >= needed:
        return gate.min_samples, "min_samples"
    name = share(threshold, 6) if kind == "rate" else f"p{gate.percentile:g}"
    among = f" over {looks} looks" if looks > 1 else ""
    return needed, f"{name} at {share(gate.confidence, 3)} confidence{among}"


def _reconnections(load: Load) -> float:
    """Reconnections of a user in a second: nobody is cut before a connection counts as stable."""
    if not load.cut_every:
        return 0.0
    settle = STABLE_AFTER * 1.25
    return 1 / (settle + load.cut_every * math.exp(-settle / load.cut_every))


def _commands(load: Load) -> float:
    """Commands of a user in a second."""
    return 1 / COMMAND_EVERY


_BY_USERS: dict[str, tuple[str, Callable[[Load], float]]] = {
    "load.reconnect_rate": ("reconnections", _reconnections),
    "load.reconnect_ms": ("reconnections", _reconnections),
    "load.connect_ms": ("reconnections", _reconnections),
    "load.command_ms": ("commands", _commands),
    "load.success_rate": (
        "reconnections and commands",
        lambda load: _reconnections(load) + _commands(load),
    ),
}
"""What a metric is measured by, and how many of them a user makes in a second."""
