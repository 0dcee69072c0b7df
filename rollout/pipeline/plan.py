"""The plan of a rollout: computed first, shown by ``--plan``, and then exactly carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollout.config import Environment
from rollout.engine import HostFacts
from rollout.engine.base import Parts
from rollout.ledger import RolloutRecord
from rollout.model import BuildRef
from rollout.pipeline.parts import Replaced, beside, lacks, replacements
from rollout.pipeline.steps import (
    KINDS,
    Back,
    Checks,
    FileIncident,
    Finish,
    GoBack,
    Install,
    Join,
    JoinFinish,
    JoinStart,
    Judge,
    Load,
    Replace,
    Return,
    Shift,
    Show,
    Start,
    Step,
    Tell,
    VerifyReturn,
    Watch,
    read_step,
)
from rollout.units import duration


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

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them; a step's place here is its index in the journal."""
        return self.forward + self.backward

    def without(self, lost: Container[str]) -> Plan:
        """The same steps, for the other hosts alone. One that has none left keeps its place, and has none."""

        def left(step: Step) -> Step:
            there = {host: text for host, text in step.hosts.items() if host not in lost}
            return replace(step, hosts=there)

        return replace(self, forward=tuple(map(left, self.forward)), backward=tuple(map(left, self.backward)))

    def as_dict(self) -> dict[str, Any]:
        """As JSON, for the ledger and ``--output json``."""
        steps = [{"index": index, **step.as_dict()} for index, step in enumerate(self.steps)]
        ahead = len(self.forward)
        return {
            "env": self.env,
            "kind": self.kind,
            "build": self.build,
            "generation": self.generation,
            "previous_build": self.previous_build,
            "previous_generation": self.previous_generation,
            "forward": steps[:ahead],
            "backward": steps[ahead:],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """Read back what :meth:`as_dict` gave.

        Raises:
            ValueError: it is of another version of the program.
        """
        forward, backward = (tuple(map(read_step, data[way])) for way in ("forward", "backward"))
        return cls(**{**data, "forward": forward, "backward": backward})


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
    ahead: list[Step] = []
    # Without an earlier build there is nobody to be careful about, and nothing to compare with.
    busy = {host.host: int(host.status["sessions"]["live"]) for host in facts if host.status}
    turns = environment.host_batches(busy) if old else [names]
    for turn, hosts in enumerate(turns):
        chosen = [host for host in facts if host.host in hosts]
        suffix = f"-b{turn + 1}" if len(turns) > 1 else ""
        ahead += _turn(environment, build, generation, chosen, old, pairs, suffix, loaded=turn > 0)
    if environment.checks:
        text = f"run {' and '.join(environment.checks)}"
        ahead.append(Checks.everywhere(text, names, suites=list(environment.checks)))
    text = f"judge all {len(environment.gates)} gates"
    ahead.append(Judge.everywhere(text, names))
    window = environment.rollback_window
    text = f"keep {old} warm for {duration(window)}, then stop it" if old else "record the first build"
    ahead.append(Finish.everywhere(text, names, after=window))
    return Plan(
        environment.name,
        kind,
        build.id,
        generation,
        previous.build if previous else None,
        old,
        tuple(ahead),
        _backward(ahead, Back(generation, old, tuple(names))),
    )


def _turn(
    environment: Environment,
    build: BuildRef,
    generation: str,
    facts: Sequence[HostFacts],
    old: str | None,
    pairs: Replaced,
    suffix: str,
    *,
    loaded: bool,
) -> list[Step]:
    """Bring the build to some of the hosts, in canary steps; the next hosts' turn comes only after a pass."""

    names = [host.host for host in facts]

    def each(said: Callable[[HostFacts], str]) -> dict[str, str]:
        return {host.host: said(host) for host in facts}

    steps: list[Step] = [
        Install(
            name=f"install{suffix}",
            summary=f"put {build.id} on the host, checked by digest",
            hosts=each(
                lambda host: "there already" if build.id in host.builds else f"copy and install {build.id}"
            ),
        )
    ]
    if here := {host.host: pairs[host.host] for host in facts if host.host in pairs}:
        steps.append(Replace.of(here, f"manager{suffix}"))
    steps.append(
        Start(
            name=f"start{suffix}",
            summary=f"start {generation}: {environment.workers} worker(s) and web, no traffic yet",
            hosts=each(
                lambda host: (
                    f"start {generation}"
                    + ("" if host.status else ", and the session manager, which does not run yet")
                )
            ),
        )
    )
    load = environment.load
    if load and old and not loaded:
        text = f"{load.users} load users take up work on {old}"
        steps.append(Load.everywhere(text, names))
    for step in environment.canary if old else environment.canary[-1:]:
        steps.append(_shift(generation, step.weight, each, old is not None, suffix))
        if load and not old:
            text = f"{load.users} load users take up work on {generation}"
            steps.append(Load.everywhere(text, names))
        text = f"watch for {duration(step.hold)} and judge the gates"
        name = f"watch-{step.weight}{suffix}"
        steps.append(Watch.everywhere(text, names, name=name, hold=step.hold))
    return steps


def _shift(
    generation: str,
    weight: int,
    each: Callable[[Callable[[HostFacts], str]], dict[str, str]],
    moving: bool,
    suffix: str,
) -> Shift:
    def said(host: HostFacts) -> str:
        live = int(host.status["sessions"]["live"]) if host.status else 0
        about = f"; about {round(live * weight / 100)} of {live} live sessions" if moving else ""
        return f"weight {weight} to {generation}{about}"

    return Shift(
        name=f"shift-{weight}{suffix}",
        summary=f"{weight} % of traffic and live sessions to {generation}",
        hosts=each(said),
        weight=weight,
    )


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
    ahead: list[Step] = []
    if not warm:
        text = f"put {build} on the host again, checked by digest"
        lacking = {host.host: f"copy and install {build}" for host in facts if build not in host.builds}
        if lacking:
            ahead.append(Install(summary=text, hosts=lacking))
        text = f"start {generation} of {build}"
        ahead.append(Start.everywhere(text, names))
    text = f"all traffic and live sessions to {generation}"
    ahead.append(GoBack.everywhere(text, names, name="shift-100", weight=100))
    if pairs := replacements(facts, wanted):
        ahead.append(Replace.of(pairs))
    if environment.checks:
        otherwise = "the build that was returned to does not pass"
        ahead.append(Checks.everywhere("run smoke", names, suites=["smoke"], otherwise=otherwise))
    text = f"stop {current.generation}"
    left = [host.host for host in facts if not lacks(host, current.generation)]
    ahead.append(Finish.everywhere(text, left, after=0.0, way_back=False))
    ahead += _told(names)
    return Plan(
        environment.name,
        "rollback",
        build,
        generation,
        current.build,
        current.generation,
        tuple(ahead),
        _backward(ahead, Back(generation, current.generation, tuple(names))),
    )


def make_apply_plan(
    environment: Environment,
    current: RolloutRecord,
    facts: Sequence[HostFacts],
    wanted: Mapping[str, Parts],
) -> Plan | None:
    """What has to be done to have the declared settings in force, with the build that serves; ``None`` where
    nothing has."""
    names = [host.host for host in facts]
    pairs = replacements(facts, wanted)
    serving = current.generation
    joining = [host for host in facts if lacks(host, serving) or beside(host, serving)]
    if not pairs and not joining:
        return None
    ahead: list[Step] = []
    if fresh := [host.host for host in joining if current.build not in host.builds]:
        ahead.append(Install.everywhere(f"put {current.build} on the host, checked by digest", fresh))
    if pairs:
        ahead.append(Replace.of(pairs))
    before = {host.host: old for host in joining if (old := beside(host, serving))}
    if joining:
        there = [host.host for host in joining]
        text = f"start {current.generation}, which serves on the others"
        # What serves beside it is nothing to go back to: the others were taken back from it.
        back = {
            host.host: before[host.host] for host in joining if host.host in before and lacks(host, serving)
        }
        ahead.append(JoinStart.everywhere(text, there, before=back))
        ahead.append(Join.everywhere(f"all traffic and live sessions to {current.generation}", there))
    if environment.checks:
        text, otherwise = f"run {' and '.join(environment.checks)}", "as it is declared it does not pass"
        suites = list(environment.checks)
        ahead.append(Checks.everywhere(text, names, suites=suites, otherwise=otherwise))
    if before:
        ahead.append(_join_finish(environment, current, before))
    return Plan(
        environment.name,
        "apply",
        current.build,
        current.generation,
        current.previous_build,
        current.previous_generation,
        tuple(ahead),
        _backward(ahead, Back(current.generation, None, tuple(names))),
    )


def _join_finish(environment: Environment, current: RolloutRecord, before: Mapping[str, str]) -> JoinFinish:
    """What becomes of what served ``before``, by host; the others' way back is kept for as long as theirs."""
    window = current.ended + environment.rollback_window - time.time() if current.ended else 0.0
    warm = {host: window for host, old in before.items() if old == current.previous_generation and window > 0}
    said = {
        host: f"keep {old} warm for {duration(window)}" if host in warm else f"stop {old}"
        for host, old in before.items()
    }
    return JoinFinish(summary="stop what served there before", hosts=said, before=dict(before), warm=warm)


def make_rehearsal_plan(
    environment: Environment, current: RolloutRecord, facts: Sequence[HostFacts], generation: str
) -> Plan:
    """Prove the way back: the present build moves to a generation of its own, and back from there."""
    names = [host.host for host in facts]
    text = f"start {generation} of {current.build}, the build that serves already"
    ahead: list[Step] = [Start.everywhere(text, names)]
    if environment.load:
        text = f"{environment.load.users} load users take up work on {current.generation}"
        ahead.append(Load.everywhere(text, names))
    text = f"all traffic and live sessions to {generation}"
    ahead.append(Shift.everywhere(text, names, name="shift-100", weight=100))
    return Plan(
        environment.name,
        "rehearsal",
        current.build,
        generation,
        current.build,
        current.generation,
        tuple(ahead),
        _backward(ahead, Back(generation, current.generation, tuple(names))),
    )


def _backward(ahead: Sequence[Step], back: Back) -> tuple[Step, ...]:
    """What undoes the steps ahead, in the order of the kinds; then whether it worked, and who is told."""
    steps: dict[str, Step] = {}
    for undo in (undo for step in ahead for undo in step.undone_by(back)):
        # One step for all hosts, however many turns they had.
        steps[undo.kind] = steps[undo.kind].joined(undo) if undo.kind in steps else undo
    if Return.kind in steps:
        text = f"verify that {back.previous} serves, through the front door"
        steps[VerifyReturn.kind] = VerifyReturn.everywhere(text, back.hosts)
    return (*(steps[kind] for kind in KINDS if kind in steps), *_told(back.hosts))


def _told(hosts: Sequence[str]) -> list[Step]:
    return [
        kind.everywhere(text, hosts)
        for kind, text in (
            (Tell, "tell those whom the environment names"),
            (Show, "bring the dashboard up to date"),
            (FileIncident, "file the incident with its timeline and evidence"),
        )
    ]
