"""What keeps a command from being carried out: the same list is shown with its plan and refused with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rollout.config import Config, Environment
from rollout.direct.mark import Mark
from rollout.doctor import (
    examine_authority,
    examine_host,
    examine_hosts,
    examine_machine,
    examine_oidc,
    examine_receivers,
)
from rollout.engine import Engine, HostFacts
from rollout.errors import GlassBroken, Locked, Refused, RolloutError
from rollout.ledger import Ledger, RolloutRecord, held, token_of
from rollout.pipeline.silence import SILENT_SECONDS, is_silent

if TYPE_CHECKING:
    from rollout.pipeline.plan import Plan


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why something may not be done. ``text`` is one line with the way out.

    ``retry_after``: seconds after which it may be gone by itself; ``None``: waiting does not help.
    ``overridable``: somebody with a name and a reason may go on all the same. ``explained``: ``rollout gates
    explain`` says more, of the environment that the build comes from. ``kind``: the error that it ends in.
    """

    text: str
    retry_after: float | None = None
    overridable: bool = False
    explained: bool = False
    kind: type[RolloutError] = Refused


@dataclass(frozen=True, slots=True)
class Planned:
    """What a command would do, and what keeps it from that.

    ``plan``: ``None`` where none can be made. ``ways``: out of all the obstacles together, a line each.
    """

    env: str
    kind: str
    plan: Plan | None
    obstacles: tuple[Obstacle, ...] = ()
    ways: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON: the plan's own keys (without a plan, ``env`` and ``kind`` alone), and ``obstacles``."""
        planned = self.plan.as_dict() if self.plan else {"env": self.env, "kind": self.kind}
        obstacles = [
            {"text": each.text, "retry_after": each.retry_after, "overridable": each.overridable}
            for each in self.obstacles
        ]
        return {**planned, "obstacles": obstacles, "ways": list(self.ways)}

    def refuse(self) -> None:
        """Refuse, where there is an obstacle.

        Raises:
            Refused, Locked: names all of them; it is of the kind of the first.
        """
        refuse(self.obstacles, self.ways)


def refuse(obstacles: Sequence[Obstacle], ways: Sequence[str] = ()) -> None:
    """Refuse, where there is an obstacle.

    Raises:
        Refused, Locked: names all of them; it is of the kind of the first.
    """
    if obstacles:
        first, *more = obstacles
        raise first.kind(first.text, more=[each.text for each in more], ways=ways)


def standing(ledger: Ledger, env: str, engine: Engine) -> list[Obstacle]:
    """What keeps anything from beginning in an environment, but for somebody who is at work there."""
    left = ledger.unfinished(env)
    return [*([unfinished(left)] if left else []), *broken(env, engine.marks())]


def occupied(ledger: Ledger, env: str) -> list[Obstacle]:
    """Somebody who is at work in an environment, by its lease."""
    said = held(ledger, env)
    return [Obstacle(said, kind=Locked)] if said else []


def lacking(config: Config, environment: Environment, facts: Sequence[HostFacts]) -> list[Obstacle]:
    """What this machine and the hosts lack for anything to be started there. Of hosts that are reached over
    SSH those are looked at where nothing runs yet: whatever does has shown that it can."""
    findings = [
        *examine_machine(config),
        *examine_oidc(environment),
        *examine_authority(environment),
        *examine_receivers(config, environment),
    ]
    fresh = [host.host for host in facts if host.status is None] if environment.containers else []
    if fresh:
        findings += [each for each in examine_hosts(config, environment) if each.where in fresh]
    for host in facts if environment.engine == "process" else ():
        listeners = (host.status or {}).get("listeners", {})
        root, listen = environment.hosts[host.host].root, environment.listens(host.host)
        findings += examine_host(f"{environment.name}/{host.host}", root, listen, listeners.values())
    return [
        Obstacle(": ".join(filter(None, (each.where, each.subject, each.text))) + f"; {each.remedy}")
        for each in findings
        if each.verdict == "wrong"
    ]


def silent(env: str, facts: Sequence[HostFacts]) -> list[Obstacle]:
    """Hosts on which something runs and no session manager answers: nobody knows what is in force."""
    return [
        Obstacle(
            f"{host.host}: its session manager does not answer, so that nobody knows what is in force there;"
            f" look at: rollout doctor {env}",
            retry_after=SILENT_SECONDS,
        )
        for host in facts
        if is_silent(host)
    ]


def behind(env: str, ledger: Ledger, facts: Sequence[HostFacts]) -> list[Obstacle]:
    """Hosts that were told things by a ledger that had come further than this one: a copy of it was put back,
    or it is another one. They refuse what comes with a lower token; and it would end what serves there.
    """
    statuses = [host.status for host in facts if host.status is not None]
    token, seen = token_of(ledger, env), seen_by(statuses)
    known = {record.generation for record in ledger.rollouts(env)}
    serving = {entry["name"] for status in statuses for entry in status["generations"] if entry["weight"]}
    if unknown := sorted(serving - known):
        text = f"its hosts serve {', '.join(unknown)}, which this ledger knows nothing of"
    elif seen > token:
        text = f"its hosts have been told things with fencing token {seen}, and this ledger is at {token}"
    else:
        return []
    return [Obstacle(f"{env}: {text}, as one that was put back from a copy; first: rollout adopt {env}")]


def seen_by(statuses: Iterable[Mapping[str, Any] | None]) -> int:
    """The highest fencing token that session managers have heard of; 0 where none answers."""
    return max((int(status.get("fence", 0)) for status in statuses if status is not None), default=0)


def unfinished(record: RolloutRecord) -> Obstacle:
    """A rollout that has not ended."""
    return Obstacle(
        f"{record.env} has an unfinished rollout (#{record.number}, {record.state});"
        f" finish it with: rollout resume {record.env}"
    )


def broken(env: str, marks: Mapping[str, Mark]) -> list[Obstacle]:
    """Where the hosts were led back without the ledger, and by whom."""
    return [
        Obstacle(
            f"{env}: {host}: {mark}; first have the ledger know it: rollout adopt {env}", kind=GlassBroken
        )
        for host, mark in list(marks.items())[:1]
    ]
