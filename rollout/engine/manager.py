"""What all engines say to session managers, and how they configure what stays on a host."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec.structs import asdict
from terminals.control import answers, packets
from terminals.parts import parts_of_wheels, settings_digest, without_secrets

from rollout.build.store import WHEELS
from rollout.config import Defaults, Environment, Listen
from rollout.direct.mark import Mark
from rollout.direct.reach import on_each
from rollout.engine.base import LedBack, PartRef, Parts, ShiftResult
from rollout.errors import EngineError, RolloutError
from rollout.model import BuildRef, EngineEvent, HostState

ORDER_SECONDS = 10.0
"""So long a session manager may take to obey, moves apart."""
OIDC = {"client_secret_file": "oidc-secret", "ca": "oidc-ca.pem"}
"""What the files of ``oidc`` are called on hosts that they are brought to, by key."""
Order = packets.Fenced | packets.HostState
T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)


def manager_config(
    environment: Environment,
    listen: Listen,
    defaults: Defaults,
    *,
    socket: str,
    state: str,
    host: str,
    name: str,
    secrets: str | None = None,
) -> dict[str, Any]:
    """The session manager's configuration on the host ``name``; ``host`` is what its listeners bind to.

    ``secrets``: the folder on the host that the files of ``oidc`` have been brought to; ``None``: they are on
    this very machine.
    """
    ports = {"system": listen.system, "claude": listen.claude, "web": listen.web}
    return {
        "socket": socket,
        "state_dir": state,
        "listeners": {name: {"host": host, "port": port} for name, port in ports.items()},
        # Only what was changed: a session manager of an earlier build knows no key that came later.
        "profiles": {
            name: profile.model_dump(mode="json", exclude_defaults=True)
            for name, profile in environment.profiles.items()
        },
        **defaults.model_dump(mode="json", exclude_defaults=True),
        **_homes(environment, name),
        **_door(environment, defaults),
        **_oidc(environment, secrets),
    }


def _door(environment: Environment, defaults: Defaults) -> dict[str, Any]:
    """What makes a door believed: by where it is, whom it leads here, and by pages of which origin."""
    door = environment.door
    if door is None:
        return {}
    found: dict[str, Any] = {
        "door": door.url("wss"),
        "trusted_proxies": sorted(
            {*defaults.trusted_proxies, *(host.network for host in door.hosts.values())}
        ),
    }
    if defaults.allowed_origins:
        found["allowed_origins"] = sorted({*defaults.allowed_origins, door.url("https")})
    return found


def _oidc(environment: Environment, secrets: str | None) -> dict[str, Any]:
    """The provider that people sign in by, as web processes are told of it."""
    if environment.oidc is None:
        return {}
    brought = environment.oidc.files() if secrets is not None else ()
    return {"oidc": {**environment.oidc.settings(), **{key: f"{secrets}/{OIDC[key]}" for key in brought}}}


def _homes(environment: Environment, name: str) -> dict[str, Any]:
    """What makes sessions of the other hosts findable from this one: tags, and where they listen."""
    tag = environment.hosts[name].tag
    if tag is None:
        return {}
    others: dict[str, dict[str, Any]] = {}
    # One that is lost is known as such: clients who ask for its sessions are told so.
    for other, known in environment.known.items():
        if other != name and known.tag is not None:
            listen = environment.listens(other)
            others[other] = {"tag": known.tag, "urls": _terminals(environment, other)}
            if listen.peers is not None:
                others[other]["peers"] = f"https://{_bracketed(environment.address(other))}:{listen.peers}"
    return {"tag": tag, **({"hosts": others} if others else {})}


def _terminals(environment: Environment, name: str) -> dict[str, str]:
    """Where clients find a host's terminals, by profile: by the door, where there is one."""
    host = environment.known[name]
    listen, door = environment.listens(name), environment.door
    if door is not None:
        return {profile: f"{door.url('wss', host.tag)}/ws/{profile}" for profile in ("system", "claude")}
    ports = {"system": listen.system, "claude": listen.claude}
    return {profile: listen.url(port, "ws", at=host.address) for profile, port in ports.items()}


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class ManagerCommands(ABC):
    """The part of :class:`rollout.engine.Engine` that is the same for all: what session managers are told."""

    def __init__(self, environment: Environment, on_event: Callable[[EngineEvent], None]) -> None:
        self._environment = environment
        self.on_event = on_event

    @abstractmethod
    def _run(
        self,
        playbook: str,
        hosts: Sequence[str],
        *,
        parts: Mapping[str, Parts] | None = None,
        **variables: Any,
    ) -> None:
        """Run a playbook on hosts, with the parts that they are to have."""

    def wanted(self, build: BuildRef) -> dict[str, Parts]:
        """See :meth:`rollout.engine.Engine.wanted`."""
        has = parts_of_wheels((Path(build.path) / WHEELS).iterdir())
        found: dict[str, Parts] = {}
        for host in self._environment.hosts:
            holder = PartRef(build.id, has.codes["holder"], "", {**has.holder, **self._fixed(host)})
            parts: dict[str, PartRef | None] = {"holder": holder}
            for part in ("manager", "monitor"):
                settings = self._settings(part, host)
                parts[part] = (
                    PartRef(build.id, has.codes[part], settings_digest(settings), without_secrets(settings))
                    if settings
                    else None
                )
            found[host] = parts
        return found

    def _fixed(self, host: str) -> dict[str, Any]:
        """What the holder of a host has for as long as it is there: ``ports`` by name, where that is so."""
        return {}

    def manage(self, parts: Mapping[str, Parts], *, fence: int) -> None:
        """See :meth:`rollout.engine.Engine.manage`."""
        self._run("manage", list(parts), parts=parts, terminals_manager_fence=fence)

    def _variables(self, prefix: str, host: str, parts: Parts) -> dict[str, Any]:
        """What a role, whose variables begin with ``prefix``, is told of the parts of a host."""
        found: dict[str, Any] = {f"{prefix}_replaced": list(parts)}
        for part, wanted in parts.items():
            found[f"{prefix}_{part}"] = self._part(part, host, wanted) if wanted is not None else {}
        return found

    def _part(self, part: str, host: str, wanted: PartRef) -> dict[str, Any]:
        """One of them, as a role is told of it."""
        if not wanted.settings:
            return {"build": wanted.build}
        declared = self._settings(part, host)
        # Others than those that are declared are on the host from before.
        config = declared if settings_digest(declared) == wanted.settings else {}
        return {"build": wanted.build, "settings": wanted.settings, "config": config}

    def _settings(self, part: str, host: str) -> dict[str, Any]:
        return self._manager_settings(host) if part == "manager" else self._monitor_settings(host)

    @abstractmethod
    def _manager_settings(self, host: str) -> dict[str, Any]:
        """The declared settings of a host's session manager, as its file has them."""

    @abstractmethod
    def _monitor_settings(self, host: str) -> dict[str, Any]:
        """The declared settings of a host's monitor, as its file has them; empty where there is none."""

    def shift(
        self, weights: dict[str, int], *, to: str, share: int, fence: int, hosts: Sequence[str]
    ) -> ShiftResult:
        """See :meth:`rollout.engine.Engine.shift`."""
        pace = self._environment.move
        weigh = packets.Weights(weights=weights, fence=fence)
        move = packets.Move(
            to=to,
            share=share,
            batch=pace.batch,
            interval=pace.interval,
            deadline=pace.deadline,
            fence=fence,
        )

        def lead(host: str) -> ShiftResult:
            weighed = self._order(host, weigh, answers.Weights, ORDER_SECONDS)
            moved = self._order(host, move, answers.Moved, pace.deadline + ORDER_SECONDS)
            shares = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
            changed = weighed.changed or moved.moved > 0
            detail = f"{moved.moved} sessions moved to {to}"
            self._tell(host, f"Lead new connections: {shares}", detail, changed=changed)
            return ShiftResult(**asdict(moved))

        return sum(self._at_once(hosts, lead).values(), ShiftResult())

    def lead_back(self, generation: str, *, fence: int, hosts: Sequence[str]) -> LedBack:
        """See :meth:`rollout.engine.Engine.lead_back`."""
        began = time.monotonic()

        def lead(host: str) -> ShiftResult | Mark:
            if (mark := self._mark(host)) is not None:
                return mark
            led = self._lead_back(host, generation, fence)
            spent = time.monotonic() - began
            moved = ShiftResult(**asdict(led.moved))
            # The way there and back counts, too.
            turned = max(0.0, spent - led.seconds) + led.turned
            return replace(moved, seconds=spent, cleared=turned + moved.cleared, turned=turned)

        found = on_each(hosts, lead)
        return LedBack(
            sum((led for led in found.values() if isinstance(led, ShiftResult)), ShiftResult()),
            {host: str(error) for host, error in found.items() if isinstance(error, RolloutError)},
            {host: mark for host, mark in found.items() if isinstance(mark, Mark)},
        )

    @abstractmethod
    def _mark(self, host: str) -> Mark | None:
        """What was left on a host by whoever broke the glass, or by its monitor.

        Raises:
            EngineError: the host cannot be asked.
        """

    @abstractmethod
    def _lead_back(self, host: str, generation: str, fence: int) -> answers.LedBack:
        """What the session manager of a host says of it.

        Raises:
            EngineError: it refused, or is not there.
        """

    def retire(
        self,
        generation: str,
        *,
        after: float,
        way_back_from: str | None,
        fence: int,
        hosts: Sequence[str],
    ) -> None:
        """See :meth:`rollout.engine.Engine.retire`."""
        order = packets.Retire(generation=generation, after=after, way_back_from=way_back_from, fence=fence)

        def retire(host: str) -> None:
            self._order(host, order, answers.Retire, ORDER_SECONDS)
            self._tell(host, f"Have {generation} stop by itself", f"{after:g} s from now")

        self._at_once(hosts, retire)

    def keep(self, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.keep`."""
        order = packets.CancelRetire(generation=generation, fence=fence)

        def keep(host: str) -> None:
            self._order(host, order, answers.Done, ORDER_SECONDS)
            self._tell(host, f"Keep {generation}", "")

        self._at_once(hosts, keep)

    def host_state(self, host: str, state: HostState, message: str = "") -> int:
        """See :meth:`rollout.engine.Engine.host_state`."""
        order = packets.HostState(state=state, message=message)
        return self._order(host, order, answers.Hosts, ORDER_SECONDS).items[0].sessions or 0

    @abstractmethod
    def _order(self, host: str, order: Order, kind: type[R], seconds: float) -> R:
        """Give the session manager of a host an order, by the connection that there is; gives its answer.

        Raises:
            EngineError: it refused, is not there, or has not answered within ``seconds``.
        """

    def _tell(self, host: str, what: str, detail: str, *, changed: bool = True) -> None:
        self.on_event(EngineEvent(host, what, "changed" if changed else "ok", detail, time.time()))

    def _at_once(self, hosts: Iterable[str], act: Callable[[str], T]) -> dict[str, T]:
        """Do the same on hosts at the same time. What fails on one ends no other, and all of it is told.

        Raises:
            EngineError: it failed, on whichever hosts it says.
        """
        found = on_each(hosts, act)
        failed = [str(result) for result in found.values() if isinstance(result, RolloutError)]
        if failed:
            raise EngineError("; ".join(failed))
        return {host: result for host, result in found.items() if not isinstance(result, RolloutError)}
