"""Which session managers a rollout replaces, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rollout.engine.base import HostFacts, ManagerRef

_MISSING = object()


def replacements(
    facts: Sequence[HostFacts], wanted: Mapping[str, ManagerRef]
) -> dict[str, tuple[ManagerRef, ManagerRef]]:
    """By host: the session manager that runs, and the one that is declared, where these differ.

    One of the same code and settings is left alone, of whatever build it is: nothing of it has changed.
    """
    found = {}
    for host in facts:
        runs = ManagerRef.of(host.status)
        if runs is None:
            continue  # there is none, and the first generation brings it
        declared = wanted.get(host.host)
        if declared is not None and (runs.code, runs.settings) != (declared.code, declared.settings):
            build = declared.build if runs.code != declared.code else runs.build or declared.build
            found[host.host] = runs, ManagerRef(build, declared.code, declared.settings, declared.configured)
    return found


def summary(pair: tuple[ManagerRef, ManagerRef]) -> str:
    """What is replaced, and why."""
    old, new = pair
    parts = []
    if old.code != new.code:
        parts.append(f"session manager: build {old.build or 'unknown'} -> {new.build}")
    if old.settings != new.settings:
        parts.append(f"settings: {', '.join(differences(old.configured, new.configured)) or 'another form'}")
    return "; ".join(parts)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs, by name; a setting that stands in neither file has its default."""
    before, after = dict(_flat(old)), dict(_flat(new))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name, _MISSING) != after.get(name, _MISSING):
            yield f"{name} {_shown(before.get(name, _MISSING))} -> {_shown(after.get(name, _MISSING))}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "default"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def as_params(pairs: Mapping[str, tuple[ManagerRef, ManagerRef]], side: int) -> dict[str, Any]:
    """Of each host's pair one side, for a step's parameters."""
    return {
        host: {key: value for key, value in asdict(pair[side]).items() if key != "configured"}
        for host, pair in pairs.items()
    }


def from_params(params: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, ManagerRef]:
    """What :func:`as_params` gave, of these hosts."""
    return {host: ManagerRef(**value) for host, value in params.items() if host in hosts}
