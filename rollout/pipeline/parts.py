"""Which of what stays a rollout replaces on a host, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rollout.engine.base import PARTS, HostFacts, PartRef, Parts, running_parts
from rollout.ledger import RolloutRecord
from rollout.pipeline.obstacles import Obstacle

_MISSING = object()
_NAMES = {"manager": "session manager"}

Pair = tuple[PartRef | None, PartRef | None]
"""What runs, and what is declared; ``None``: none."""
Replaced = Mapping[str, Mapping[str, Pair]]
"""By host, and by part: where these differ."""


def replacements(facts: Sequence[HostFacts], wanted: Mapping[str, Parts]) -> dict[str, dict[str, Pair]]:
    """What differs, by host and part; a host without a session manager gets all with its first generation.

    A part of the same code and settings is left alone, of whatever build it is: nothing of it has changed.
    """
    found: dict[str, dict[str, Pair]] = {}
    for host in facts:
        if host.status is None or host.host not in wanted:
            continue
        runs = running_parts(host.status)
        holder = runs["holder"]
        # Where it was asked which builds are there: nothing is, that could go on as this one.
        if holder is not None and host.builds and holder.build not in host.builds:
            runs["holder"] = replace(holder, build="")
        pairs = {
            part: (runs[part], _instead_of(runs[part], declared))
            for part, declared in wanted[host.host].items()
            if not same(runs[part], declared) and (part != "holder" or _resumes(declared, runs[part]))
        }
        if pairs:
            found[host.host] = {part: pairs[part] for part in PARTS if part in pairs}
    return found


def lacks(host: HostFacts, generation: str) -> bool:
    """Whether what serves on the others does not serve on a host: it is new to the environment, or was away.

    Of one whose session manager does not answer nothing is known, unless there are no shells either: nothing
    was ever started there, or the machine was started anew.
    """
    if host.status is None:
        return not host.held
    return not any(entry["name"] == generation and entry["weight"] for entry in host.status["generations"])


def beside(host: HostFacts, generation: str) -> str:
    """What serves on a host beside the generation that serves on the others, "" where nothing does: it was
    away while a rollout of that was taken back."""
    entries = host.status["generations"] if host.status else []
    others = [entry for entry in entries if entry["weight"] and entry["name"] != generation]
    return str(max(others, key=lambda entry: int(entry["weight"]))["name"]) if others else ""


def apart(env: str, current: RolloutRecord | None, facts: Sequence[HostFacts]) -> list[Obstacle]:
    """Hosts that do not serve what the others do, or not that alone: nobody could be led from it there, nor
    back to it."""
    if current is None:
        return []
    lacking = [host.host for host in facts if lacks(host, current.generation)]
    said = (
        [f"{', '.join(lacking)}: not on {current.generation}, which serves on the others"] if lacking else []
    )
    for host in facts:
        if host.host not in lacking and (other := beside(host, current.generation)):
            said.append(f"{host.host}: on {other}, too, while the others are on {current.generation} alone")
    return [Obstacle(f"{text}; bring it there first: rollout apply {env}") for text in said]


def new_holders(facts: Sequence[HostFacts], wanted: Mapping[str, Parts]) -> list[Obstacle]:
    """Where a holder would have to be made anew, and its shells would end: why, and how many."""
    found = []
    for host in facts:
        runs, declared = running_parts(host.status)["holder"], wanted.get(host.host, {}).get("holder")
        if host.status is None or runs is None or declared is None:
            continue
        why = _made_anew(runs, declared, host.status.get("listeners", {}))
        if why:
            live = host.status["sessions"]["live"]
            found.append(
                Obstacle(
                    f"{host.host}: {why}: that takes the end of {live} live sessions; end them with"
                    " rollout teardown, then deploy"
                )
            )
    return found


def _made_anew(runs: PartRef, declared: PartRef, listeners: Mapping[str, int]) -> str:
    """Why a holder cannot go on; empty where it can."""
    ports = declared.configured.get("ports", {})
    if other := [
        f"{name} {listeners[name]} -> {port}"
        for name, port in ports.items()
        if listeners.get(name, port) != port
    ]:
        return f"its ports are those of the holder's container: {', '.join(other)}"
    old, new = (part.configured.get("version") or 0 for part in (runs, declared))
    # One that is older than what runs is not needed: that one serves its session manager, too.
    if new > old and not _resumes(declared, runs):
        return (
            f"the holder of build {declared.build} is of version {new}, and cannot go on from version {old},"
            " which runs"
        )
    return ""


def undone(replaced: Replaced) -> dict[str, dict[str, Pair]]:
    """What is put back where the rest is taken back: not a holder that has to stay."""
    found = {
        host: {part: pair for part, pair in pairs.items() if part != "holder" or not _stays(*pair)}
        for host, pairs in replaced.items()
    }
    return {host: pairs for host, pairs in found.items() if pairs}


def _resumes(holder: PartRef | None, other: PartRef | None) -> bool:
    """Whether a holder can go on in the place of the other, with all that it keeps."""
    if holder is None or other is None:
        return False
    return other.configured.get("version") in (holder.configured.get("resumes") or ())


def same(runs: PartRef | None, declared: PartRef | None) -> bool:
    """Whether nothing of it has changed."""
    if runs is None or declared is None:
        return runs is declared
    return (runs.code, runs.settings) == (declared.code, declared.settings)


def there(runs: PartRef | None, wanted: PartRef | None) -> bool:
    """Whether what runs is what is wanted: of that build, too."""
    return same(runs, wanted) and (runs is None or wanted is None or runs.build == wanted.build)


def _instead_of(runs: PartRef | None, declared: PartRef | None) -> PartRef | None:
    """With other settings alone, a part stays of the build that it is of."""
    if runs is None or declared is None or runs.code != declared.code or not runs.build:
        return declared
    return PartRef(runs.build, declared.code, declared.settings, declared.configured)


def summary(pairs: Mapping[str, Pair]) -> str:
    """What is replaced on a host, and why."""
    return "; ".join(line for part, pair in pairs.items() for line in _lines(part, *pair))


def _lines(part: str, old: PartRef | None, new: PartRef | None) -> Iterator[str]:
    name = _NAMES.get(part, part)
    if old is None or new is None:
        yield f"{name}: {_of(old)} -> {_of(new)}"
        return
    if old.code != new.code:
        yield f"{name}: {_of(old)} -> {new.build}" + (_why_it_stays(old, new) if part == "holder" else "")
    if old.settings != new.settings:
        whose = "settings" if part == "manager" else f"{name}'s settings"
        yield f"{whose}: {', '.join(differences(old.configured, new.configured)) or 'another form'}"


def _stays(old: PartRef | None, new: PartRef | None) -> bool:
    """Whether a holder is not put back: the one before cannot go on from it, or is not on the host."""
    return old is None or not old.build or not _resumes(old, new)


def _why_it_stays(old: PartRef, new: PartRef) -> str:
    if not _stays(old, new):
        return ""
    before, after = (str(of.configured.get("version")) for of in (old, new))
    why = f"version {before} -> {after}: " if not _resumes(old, new) else ""
    return f" ({why}it stays when the rest is taken back)"


def _of(part: PartRef | None) -> str:
    return "none" if part is None else f"build {part.build or 'unknown'}"


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


def as_params(replaced: Replaced, side: int) -> dict[str, Any]:
    """Of each pair one side, for a step's parameters."""

    def plain(part: PartRef | None) -> dict[str, Any] | None:
        if part is None:
            return None
        return {name: value for name, value in asdict(part).items() if name != "configured"}

    return {
        host: {part: plain(pair[side]) for part, pair in pairs.items()} for host, pairs in replaced.items()
    }


def from_params(params: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, dict[str, PartRef | None]]:
    """What :func:`as_params` gave, of these hosts."""
    return {
        host: {part: value and PartRef(**value) for part, value in parts.items()}
        for host, parts in params.items()
        if host in hosts
    }
