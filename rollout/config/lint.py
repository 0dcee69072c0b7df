"""Relations between keys: what is well-formed, and still could never work or would decide nothing.

Every problem names the place to change, so that the error can show its line and column.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from terminals.protocol import STABLE_AFTER

from rollout.config.document import Place
from rollout.config.model import Config, Environment, Gate
from rollout.config.units import format_duration
from rollout.config.wording import suggestion

ROOT_LIMIT = 80
"""Characters of a host's root: unix sockets live below it, and the kernel allows 107 for their whole path."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a place, and the way out."""

    place: Place
    text: str


def problems(config: Config) -> Iterator[Problem]:
    """Find everything that is wrong with a well-formed configuration."""
    yield from _order(config)
    yield from _addresses(config)
    for environment in config.environments.values():
        place: Place = ("environments", environment.name)
        for found in (*_canary(environment), *_times(environment), *_gates(environment)):
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
    for environment in config.environments.values():
        place: Place = ("environments", environment.name)
        for key in ("system", "claude", "web"):
            port = getattr(environment.listen, key)
            mine = f"environments.{environment.name}.listen.{key}"
            if port in ports:
                yield Problem(
                    (*place, "listen", key), f"port {port} is taken by {ports[port]}; choose another"
                )
            ports.setdefault(port, mine)
        for host in environment.hosts.values():
            root = str(host.root)
            at: Place = (*place, "hosts", host.name, "root")
            if len(root) > ROOT_LIMIT:
                yield Problem(
                    at,
                    f"{root} is {len(root)} characters long; sockets below it leave room for {ROOT_LIMIT}: "
                    "choose a shorter directory",
                )
            if root in roots:
                yield Problem(at, f"{root} is the root of {roots[root]} already; every host needs its own")
            roots.setdefault(root, f"environments.{environment.name}.hosts.{host.name}")


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
            f"{format_duration(environment.max_hold)} is shorter than a hold of {format_duration(longest)}; "
            "an inconclusive gate must be allowed to wait at least as long",
        )
    if environment.move.interval > environment.move.deadline:
        yield Problem(
            ("move", "interval"),
            "longer than the deadline, so only one batch would ever move; make it shorter",
        )
    if len(set(environment.checks)) != len(environment.checks):
        yield Problem(("checks",), "a suite is named twice; remove one")


def _gates(environment: Environment) -> Iterator[Problem]:
    names = Counter(gate.name for gate in environment.gates)
    for index, gate in enumerate(environment.gates):
        place: Place = ("gates", index)
        if names[gate.name] > 1:
            yield Problem(place, f'another gate is called "{gate.name}" too; give this one a name of its own')
        yield from _evidence(environment, gate, place)
        yield from _threshold(gate, place)
        yield from _reachable(environment, gate, place)


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


def _threshold(gate: Gate, place: Place) -> Iterator[Problem]:
    """It could never pass, or could never fail."""
    metric, at = gate.about, (*place, "threshold")
    if gate.op == "==" and metric.kind in ("rate", "samples"):
        way = ">=" if metric.better == "higher" else "<="
        yield Problem((*place, "op"), f'{metric.name} is estimated, never exactly equal; use "{way}"')
    elif gate.op != "==" and (gate.op[0] == ">") != (metric.better == "higher"):
        way = ">" if metric.better == "higher" else "<"
        yield Problem(
            (*place, "op"),
            f'"{gate.op}" asks for a bad {metric.name} ({metric.better} is better); use "{way}"',
        )
    elif not math.isfinite(gate.threshold) or gate.threshold < 0:
        yield Problem(at, "expected a number of 0 or more")
    elif metric.unit == "share" and gate.op == ">" and gate.threshold >= 1:
        yield Problem(at, "nothing is more than all of them; lower it")
    elif metric.kind == "rate" and gate.threshold >= 1:
        yield Problem(at, "no number of observations proves a rate of 1; lower it, e.g. to 0.99")
    elif gate.op == "<" and gate.threshold == 0:
        yield Problem(at, 'nothing is less than 0; use op: "==" or raise it')


def _reachable(environment: Environment, gate: Gate, place: Place) -> Iterator[Problem]:
    """A rate needs a number of reconnections that the users can make in the time there is."""
    load = environment.load
    if gate.metric != "load.reconnect_rate" or load is None or not 0 < gate.threshold < 1:
        return
    # One-sided exact bound with no failure at all: threshold <= alpha ** (1/n).
    needed = math.ceil(math.log(1 - gate.confidence) / math.log(gate.threshold))
    window = max(environment.max_hold, environment.canary[-1].hold)
    likely = load.users * window / _between_cuts(load.cut_every)
    if likely < needed:
        yield Problem(
            (*place, "threshold"),
            f"{gate.threshold:g} at {gate.confidence:.0%} confidence takes {needed} reconnections without a "
            f"failure, and {load.users} users make about {likely:.0f} in max_hold; "
            "raise load.users or max_hold",
        )


def _between_cuts(cut_every: float) -> float:
    """Mean seconds between the cuts of one user, who is never cut before a connection counts as stable."""
    settle = STABLE_AFTER * 1.25
    return settle + cut_every * math.exp(-settle / cut_every) if cut_every else math.inf
