"""Where sessions of other hosts are: each id says at which host it was made, and there its shell is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from terminals.configfile import ConfigError, refuse_unknown
from terminals.protocol.addresses import is_address
from terminals.protocol.ids import is_tag, tag_of

log = logging.getLogger("terminals.manager")

FILE: Final = "tag"


@dataclass(frozen=True, slots=True)
class OtherHost:
    """A host that shares users and credentials with this one. ``urls``: of its terminals, by profile."""

    tag: str
    urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Homes:
    """This host's tag, "" where it needs none, and the others by their names."""

    tag: str = ""
    others: Mapping[str, OtherHost] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Homes:
        """What a session manager's settings say.

        Raises:
            ValueError: what is wrong with them.
        """
        tag = raw.get("tag", "")
        if tag and not is_tag(tag):
            raise ValueError(f"tag: four characters of a-z and 0-9, not {tag!r}")
        others = {name: _other(name, entry) for name, entry in raw.get("hosts", {}).items()}
        if others and not tag:
            raise ValueError("tag: where there are other hosts, this one has to have a tag, too")
        known = {tag: "this host"}
        for name, other in others.items():
            if other.tag in known:
                raise ValueError(f"hosts.{name}.tag: {other.tag} is that of {known[other.tag]}")
            known[other.tag] = name
        return cls(tag, others)

    def elsewhere(self, session: str, profile: str) -> str | None:
        """Where a session that is not here is to be asked for; ``None``: nowhere else."""
        tag = tag_of(session) if self.others else None
        for other in self.others.values():
            if other.tag == tag:
                return other.urls.get(profile)
        return None

    def check(self, state_dir: Path) -> str:
        """A host has its tag for life, since its sessions' ids say it; gives what it has had so far.

        Raises:
            ConfigError: it had another one.
        """
        try:
            kept = (state_dir / FILE).read_text().strip()
        except FileNotFoundError:
            kept = ""
        if kept and self.tag != kept:
            said = f"is to be {self.tag}" if self.tag else "was taken away"
            raise ConfigError(
                f"tag: {said}, but ids of sessions here say {kept}, and others find them by it: keep {kept}"
            )
        return kept

    def settle(self, state_dir: Path) -> None:
        """Keep the tag from now on.

        Raises:
            ConfigError: as :meth:`check` does.
        """
        if not self.check(state_dir) and self.tag:
            path = state_dir / FILE
            temporary = path.with_suffix(".tmp")
            temporary.write_text(f"{self.tag}\n")
            temporary.replace(path)
            log.info("sessions that begin here have %s in their ids", self.tag)


def _other(name: str, raw: Any) -> OtherHost:
    where = f"hosts.{name}: "
    if not isinstance(raw, dict):
        raise ValueError(f'{where}{{"tag": TAG, "urls": {{PROFILE: URL}}}}')
    refuse_unknown(where, raw, OtherHost.__dataclass_fields__)
    tag, urls = raw.get("tag", ""), raw.get("urls", {})
    if not (isinstance(tag, str) and is_tag(tag)):
        raise ValueError(f"hosts.{name}.tag: four characters of a-z and 0-9, not {tag!r}")
    for profile, url in urls.items():
        if not (isinstance(url, str) and is_address(url)):
            raise ValueError(f"hosts.{name}.urls.{profile}: an address of the form wss://HOST[:PORT]/PATH")
    return OtherHost(tag, dict(urls))
