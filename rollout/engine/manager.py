"""What all engines say to session managers, and how they configure what stays on a host."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from terminals.parts import parts_of_wheels, settings_digest, without_secrets

from rollout.build.store import WHEELS
from rollout.config import Defaults, Environment, Listen
from rollout.direct.reach import on_each
from rollout.engine.base import PartRef, Parts, ShiftResult
from rollout.errors import EngineError, RolloutError
from rollout.model import BuildRef


def manager_config(
    environment: Environment, listen: Listen, defaults: Defaults, *, socket: str, state: str, host: str
) -> dict[str, Any]:
    """The session manager's configuration; ``host`` is what its listeners bind to."""
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
    }


class ManagerCommands(ABC):
    """The part of :class:`rollout.engine.Engine` that is the same for all: what session managers are told."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    @abstractmethod
    def _run(
        self,
        playbook: str,
        hosts: Sequence[str],
        *,
        parts: Mapping[str, Parts] | None = None,
        **variables: Any,
    ) -> dict[str, dict[str, Any]]:
        """Run a playbook on hosts, with the parts that they are to have; gives their results."""

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
        found: dict[str, Any] = {f"{prefix}_parts": list(parts)}
        for part, wanted in parts.items():
            found[f"{prefix}_{part}_build"] = wanted.build if wanted else ""
            if wanted is not None and wanted.settings:
                declared = self._settings(part, host)
                # Others than those that are declared are on the host from before.
                mine = declared if settings_digest(declared) == wanted.settings else {}
                found |= {f"{prefix}_{part}_settings": wanted.settings, f"{prefix}_{part}_config": mine}
        return found

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
        move = self._environment.move
        results = self._run(
            "shift",
            hosts,
            terminals_manager_fence=fence,
            terminals_manager_weights=weights,
            terminals_manager_to=to,
            terminals_manager_share=share,
            terminals_manager_move_batch=move.batch,
            terminals_manager_move_interval=move.interval,
            terminals_manager_move_deadline=move.deadline,
        )
        return sum_of_moves(results)

    def lead_back(self, generation: str, *, fence: int, hosts: Sequence[str]) -> ShiftResult:
        """See :meth:`rollout.engine.Engine.lead_back`."""
        began = time.monotonic()

        def lead(host: str) -> ShiftResult:
            led = self._lead_back(host, generation, fence)
            spent = time.monotonic() - began
            moved = ShiftResult(**led["moved"])
            # The way there and back counts, too.
            turned = max(0.0, spent - led["seconds"]) + led["turned"]
            return replace(moved, seconds=spent, cleared=turned + moved.cleared, turned=turned)

        found = on_each(hosts, lead)
        failed = [str(error) for error in found.values() if isinstance(error, RolloutError)]
        if failed:
            raise EngineError("; ".join(failed))
        return sum((led for led in found.values() if isinstance(led, ShiftResult)), ShiftResult())

    @abstractmethod
    def _lead_back(self, host: str, generation: str, fence: int) -> Mapping[str, Any]:
        """What the session manager of a host says of it: the fields of ``terminals.control.answers.LedBack``.

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
        self._run(
            "retire",
            hosts,
            terminals_manager_generation=generation,
            terminals_manager_after=after,
            terminals_manager_way_back_from=way_back_from or "",
            terminals_manager_fence=fence,
        )

    def keep(self, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """See :meth:`rollout.engine.Engine.keep`."""
        self._run(
            "retire",
            hosts,
            terminals_manager_generation=generation,
            terminals_manager_cancel=True,
            terminals_manager_fence=fence,
        )


def sum_of_moves(results: Mapping[str, Mapping[str, Any]]) -> ShiftResult:
    """What became of the sessions, over all hosts of a ``shift``.

    Raises:
        EngineError: a host said nothing of it.
    """
    total = ShiftResult()
    for host, values in results.items():
        if "move" not in values:
            raise EngineError(f"{host}: the move gave no result")
        total += ShiftResult(**values["move"])
    return total
