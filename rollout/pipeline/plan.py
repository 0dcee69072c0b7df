"""The plan of a rollout: computed first, shown by ``--plan``, and then exactly carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from rollout.config import Environment
from rollout.engine import HostFacts
from rollout.engine.base import Parts
from rollout.ledger import RolloutRecord
from rollout.model import BuildRef
from rollout.pipeline.parts import Pair, Replaced, as_params, replacements, summary, undone


class Kind(StrEnum):
    """What a step does."""

    INSTALL = "install"
    MANAGER = "manager"
    START = "start"
    LOAD = "load"
    SHIFT = "shift"
    WATCH = "watch"
    CHECKS = "checks"
    GATE = "gate"
    FINISH = "finish"
    ROLLBACK_SHIFT = "rollback-shift"
    ROLLBACK_STOP = "rollback-stop"
    ROLLBACK_MANAGER = "rollback-manager"
    ROLLBACK_VERIFY = "rollback-verify"
    ROLLBACK_TELL = "rollback-tell"
    ROLLBACK_SHOW = "rollback-show"
    ROLLBACK_RECORD = "rollback-record"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``name`` is unique in the plan and is what the journal calls it."""

    index: int
    kind: Kind
    name: str
    summary: str
    hosts: dict[str, str]
    """For each host, what will be done there."""
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps forward, and steps back should anything but a pass come out."""

    env: str
    kind: str
    build: str
    generation: str
    previous_build: str | None
    previous_generation: str | None
    forward: tuple[Step, ...]
    backward: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON, for the ledger and ``--output json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """Read back what :meth:`as_dict` gave."""

        def steps(items: Sequence[dict[str, Any]]) -> tuple[Step, ...]:
            return tuple(Step(**{**item, "kind": Kind(item["kind"])}) for item in items)

        return cls(**{**data, "forward": steps(data["forward"]), "backward": steps(data["backward"])})


class _Builder:
    def __init__(self, first: int, hosts: Sequence[str]) -> None:
        self._first = first
        self._hosts = hosts
        self.steps: list[Step] = []

    def add(
        self, kind: Kind, summary: str, hosts: dict[str, str] | None = None, name: str = "", **params: Any
    ) -> None:
        each = hosts if hosts is not None else dict.fromkeys(self._hosts, summary)
        index = self._first + len(self.steps)
        self.steps.append(Step(index, kind, name or kind.value, summary, each, params))


def make_plan(
    environment: Environment,
    build: BuildRef,
    generation: str,
    facts: Sequence[HostFacts],
    previous: RolloutRecord | None,
    wanted: Mapping[str, Parts],
    *,
    kind: str,
) -> Plan:
    """What has to be done to bring ``build`` to ``environment``, given what is on its hosts.

    ``wanted``: what is declared of what stays, by host.
    """
    pairs = replacements(facts, wanted)
    names = [host.host for host in facts]
    old = previous.generation if previous else None
    ahead = _Builder(0, names)
    # Without an earlier build there is nobody to be careful about, and nothing to compare with.
    turns = environment.host_batches() if old else [names]
    for turn, hosts in enumerate(turns):
        chosen = [host for host in facts if host.host in hosts]
        suffix = f"-b{turn + 1}" if len(turns) > 1 else ""
        _turn(ahead, environment, build, generation, chosen, old, pairs, suffix)
    if environment.checks:
        ahead.add(Kind.CHECKS, f"run {' and '.join(environment.checks)}")
    ahead.add(Kind.GATE, f"judge all {len(environment.gates)} gates")
    window = environment.rollback_window
    ahead.add(
        Kind.FINISH,
        f"keep {old} warm for {window:g} s, then stop it" if old else "record the first build",
        after=window,
    )
    return Plan(
        environment.name,
        kind,
        build.id,
        generation,
        previous.build if previous else None,
        old,
        tuple(ahead.steps),
        tuple(_backward(len(ahead.steps), names, generation, old, pairs)),
    )


def _manager(steps: _Builder, pairs: Replaced, name: str = "") -> None:
    if pairs:
        steps.add(
            Kind.MANAGER,
            "replace what stays, under its sessions",
            {host: summary(pair) for host, pair in pairs.items()},
            name=name,
            to=as_params(pairs, 1),
        )


def _turn(
    ahead: _Builder,
    environment: Environment,
    build: BuildRef,
    generation: str,
    facts: Sequence[HostFacts],
    old: str | None,
    pairs: Replaced,
    suffix: str,
) -> None:
    """Bring the build to some of the hosts, in canary steps; the next hosts' turn comes only after a pass."""
    ahead.add(
        Kind.INSTALL,
        f"put {build.id} on the host, checked by digest",
        {
            host.host: "there already" if build.id in host.builds else f"copy and install {build.id}"
            for host in facts
        },
        name=f"install{suffix}",
    )
    here = {host.host: pairs[host.host] for host in facts if host.host in pairs}
    _manager(ahead, here, f"manager{suffix}")
    ahead.add(
        Kind.START,
        f"start {generation}: {environment.workers} worker(s) and web, no traffic yet",
        {
            host.host: f"start {generation}"
            + ("" if host.status else ", and the session manager, which does not run yet")
            for host in facts
        },
        name=f"start{suffix}",
    )
    load = environment.load
    if load and old and not any(step.kind is Kind.LOAD for step in ahead.steps):
        ahead.add(Kind.LOAD, f"{load.users} load users take up work on {old}")
    for step in environment.canary if old else environment.canary[-1:]:
        ahead.add(
            Kind.SHIFT,
            f"{step.weight} % of traffic and live sessions to {generation}",
            {
                host.host: f"weight {step.weight} to {generation}"
                + (
                    f"; about {round(_live(host) * step.weight / 100)} of {_live(host)} live sessions"
                    if old
                    else ""
                )
                for host in facts
            },
            name=f"shift-{step.weight}{suffix}",
            weight=step.weight,
        )
        if load and not old:
            ahead.add(Kind.LOAD, f"{load.users} load users take up work on {generation}")
        ahead.add(
            Kind.WATCH,
            f"watch for {step.hold:g} s and judge the gates",
            name=f"watch-{step.weight}{suffix}",
            hold=step.hold,
        )


def _backward(
    first: int,
    names: Sequence[str],
    generation: str,
    old: str | None,
    pairs: Replaced,
) -> list[Step]:
    back = _Builder(first, names)
    if old:
        back.add(Kind.ROLLBACK_SHIFT, f"all traffic and live sessions back to {old}")
        back.add(Kind.ROLLBACK_STOP, f"stop {generation}")
        _manager_back(back, pairs)
        back.add(Kind.ROLLBACK_VERIFY, f"verify that {old} serves, through the front door")
    else:
        back.add(Kind.ROLLBACK_STOP, f"stop {generation}; there is no earlier build to go back to")
        _manager_back(back, pairs)
    _aftermath(back)
    return back.steps


def _manager_back(back: _Builder, replaced: Replaced) -> None:
    if pairs := undone(replaced):
        back.add(
            Kind.ROLLBACK_MANAGER,
            "put what was there before in its place again",
            {host: summary(_reversed(parts)) for host, parts in pairs.items()},
            to=as_params(pairs, 0),
        )


def _reversed(parts: Mapping[str, Pair]) -> dict[str, Pair]:
    return {part: (new, old) for part, (old, new) in parts.items()}


def _aftermath(back: _Builder) -> None:
    back.add(Kind.ROLLBACK_TELL, "tell those whom the environment names")
    back.add(Kind.ROLLBACK_SHOW, "bring the dashboard up to date")
    back.add(Kind.ROLLBACK_RECORD, "file the incident with its timeline and evidence")


def make_rollback_plan(
    environment: Environment,
    current: RolloutRecord,
    facts: Sequence[HostFacts],
    *,
    build: str,
    generation: str,
    warm: bool,
    wanted: Mapping[str, Parts],
) -> Plan:
    """What has to be done to return to ``build``: shift when its generation is warm, else start it first.

    ``wanted``: what is declared of what stays, with that build.
    """
    names = [host.host for host in facts]
    pairs = replacements(facts, wanted)
    ahead = _Builder(0, names)
    if not warm:
        lacking = {host.host: f"copy and install {build}" for host in facts if build not in host.builds}
        if lacking:
            ahead.add(Kind.INSTALL, f"put {build} on the host again, checked by digest", lacking)
        ahead.add(Kind.START, f"start {generation} of {build}")
    ahead.add(Kind.SHIFT, f"all traffic and live sessions to {generation}", name="shift-100", weight=100)
    _manager(ahead, pairs)
    if environment.checks:
        ahead.add(Kind.CHECKS, "run smoke", suites=["smoke"])
    ahead.add(Kind.FINISH, f"stop {current.generation}", after=0.0)
    _aftermath(ahead)
    return Plan(
        environment.name,
        "rollback",
        build,
        generation,
        current.build,
        current.generation,
        tuple(ahead.steps),
        tuple(_backward(len(ahead.steps), names, generation, current.generation, pairs)),
    )


def make_apply_plan(
    environment: Environment,
    current: RolloutRecord,
    facts: Sequence[HostFacts],
    wanted: Mapping[str, Parts],
) -> Plan:
    """What has to be done to have the declared settings in force, with the build that serves."""
    names = [host.host for host in facts]
    pairs = replacements(facts, wanted)
    ahead = _Builder(0, names)
    _manager(ahead, pairs)
    if environment.checks:
        ahead.add(Kind.CHECKS, f"run {' and '.join(environment.checks)}")
    back = _Builder(len(ahead.steps), names)
    _manager_back(back, pairs)
    _aftermath(back)
    return Plan(
        environment.name,
        "apply",
        current.build,
        current.generation,
        current.previous_build,
        current.previous_generation,
        tuple(ahead.steps),
        tuple(back.steps),
    )


def make_rehearsal_plan(
    environment: Environment, current: RolloutRecord, facts: Sequence[HostFacts], generation: str
) -> Plan:
    """Prove the way back: the present build moves to a generation of its own, and back from there."""
    names = [host.host for host in facts]
    ahead = _Builder(0, names)
    ahead.add(Kind.START, f"start {generation} of {current.build}, the build that serves already")
    if environment.load:
        ahead.add(Kind.LOAD, f"{environment.load.users} load users take up work on {current.generation}")
    ahead.add(Kind.SHIFT, f"all traffic and live sessions to {generation}", name="shift-100", weight=100)
    return Plan(
        environment.name,
        "rehearsal",
        current.build,
        generation,
        current.build,
        current.generation,
        tuple(ahead.steps),
        tuple(_backward(len(ahead.steps), names, generation, current.generation, {})),
    )


def _live(host: HostFacts) -> int:
    return int(host.status["sessions"]["live"]) if host.status else 0
