"""Where sessions of other hosts are: each id says at which host it was made, and there its shell is."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from terminals.cluster.table import LOST_SECONDS
from terminals.configfile import ConfigError, refuse_unknown
from terminals.protocol.addresses import is_address
from terminals.protocol.ids import is_tag, tag_of
from terminals.wholefile import write_whole

log = logging.getLogger("terminals.manager")

FILE: Final = "tag"
_DOOR = re.compile(r"wss?://([A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[1-9][0-9]{0,4})?")
_PEERS = re.compile(r"https?://([A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class OtherHost:
    """A host that shares users and credentials with this one. ``urls``: of its terminals, by profile."""

    tag: str
    urls: Mapping[str, str]
    peers: str = ""
    """Where it is asked how it is: ``http:`` or ``https:``, host and port; "": it is not."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class PeerRules:
    """By what hosts know each other, and how they ask. Times in seconds.

    They have certificates (``authority``, ``certificate`` and ``key`` name files) by which each proves its
    tag, or, where all are on one machine, a ``token`` in a file.
    """

    host: str
    port: int
    own_socket: bool = False
    """Bound by the session manager itself, which has a network of its own, and not by the holder."""
    name: str = field(default_factory=socket.gethostname)
    """What others call this host."""
    region: str = ""
    authority: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    interval: float = 2.0
    """Between two questions to each of the others."""
    lost_seconds: float = LOST_SECONDS
    """A host of which nobody has heard for so long is taken for lost."""
    screens: float = 0.0
    """The screen of each session here that has changed is copied to another host so often at the most, and
    screens of other hosts' are kept here; 0: neither."""


@dataclass(frozen=True, slots=True)
class Homes:
    """This host's tag, "" where it needs none, and the others by their names.

    ``door``: scheme, host and port by which people come who do not say to which host, "" where there is none.
    """

    tag: str = ""
    others: Mapping[str, OtherHost] = field(default_factory=dict)
    rules: PeerRules | None = None
    door: str = ""

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
        rules = None if raw.get("peers") is None else _rules(raw["peers"])
        if rules is not None and not tag:
            raise ValueError("tag: where other hosts ask this one, it has to have a tag")
        for name, other in others.items():
            if other.peers and rules is None:
                raise ValueError(f"hosts.{name}.peers: say under peers where others ask this host")
            if other.peers and rules and other.peers.startswith("https:") != bool(rules.certificate):
                raise ValueError(f"hosts.{name}.peers: https: where there are certificates, else http:")
        door = raw.get("door", "")
        if door and not (isinstance(door, str) and _DOOR.fullmatch(door)):
            raise ValueError(f"door: an address of the form wss://HOST[:PORT], not {door!r}")
        return cls(tag, others, rules, door)

    @property
    def places(self) -> tuple[str, ...]:
        """Where the others' terminals are, and the door: scheme, host and port."""
        urls = (urlsplit(url) for other in self.others.values() for url in other.urls.values())
        found = {f"{url.scheme}://{url.netloc}" for url in urls}
        return tuple(sorted(found | {self.door} - {""}))

    def home_of(self, session: str) -> OtherHost | None:
        """The host that an id says that the session is at; ``None``: none of the others."""
        tag = tag_of(session) if self.others else None
        return None if tag is None else self.by_tag(tag)

    def by_tag(self, tag: str) -> OtherHost | None:
        """The other host of this tag."""
        return next((other for other in self.others.values() if other.tag == tag), None)

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
            write_whole(state_dir / FILE, f"{self.tag}\n".encode())
            log.info("sessions that begin here have %s in their ids", self.tag)


def _other(name: str, raw: Any) -> OtherHost:
    where = f"hosts.{name}: "
    if not isinstance(raw, dict):
        raise ValueError(f'{where}{{"tag": TAG, "urls": {{PROFILE: URL}}}}')
    refuse_unknown(where, raw, OtherHost.__dataclass_fields__)
    tag, urls, peers = raw.get("tag", ""), raw.get("urls", {}), raw.get("peers", "")
    if not (isinstance(tag, str) and is_tag(tag)):
        raise ValueError(f"hosts.{name}.tag: four characters of a-z and 0-9, not {tag!r}")
    for profile, url in urls.items():
        if not (isinstance(url, str) and is_address(url)):
            raise ValueError(f"hosts.{name}.urls.{profile}: an address of the form wss://HOST[:PORT]/PATH")
    if peers and not (isinstance(peers, str) and _PEERS.fullmatch(peers)):
        raise ValueError(f"hosts.{name}.peers: an address of the form https://HOST:PORT")
    return OtherHost(tag, dict(urls), peers, name)


def _rules(raw: Any) -> PeerRules:
    if not isinstance(raw, dict):
        raise ValueError(f"peers: an object of settings, not {raw!r}")
    refuse_unknown("peers: ", raw, PeerRules.__dataclass_fields__)
    for name in ("host", "name", "region", "authority", "certificate", "key", "token"):
        if not isinstance(raw.get(name, ""), str):
            raise ValueError(f"peers.{name}: text, not {raw[name]!r}")
    if not isinstance(raw.get("own_socket", False), bool):
        raise ValueError(f"peers.own_socket: true or false, not {raw['own_socket']!r}")
    rules = PeerRules(**{**raw, "host": raw["host"], "port": int(raw["port"])})
    files = (rules.authority, rules.certificate, rules.key)
    if any(files) != all(files) or any(files) == bool(rules.token):
        raise ValueError("peers: authority, certificate and key, or else token: each names a file")
    if rules.token and not _is_loopback(rules.host):
        raise ValueError("peers.token: a token is no secret on a network: only with 127.0.0.1 as host")
    for name, least, more in (("interval", 0.05, ""), ("lost_seconds", 0.05, ""), ("screens", 1, "0 or ")):
        value = getattr(rules, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (least <= value <= 3600 or (more and value == 0)):
            raise ValueError(f"peers.{name} must be {more}from {least} to 3600, not {value!r}")
    return rules


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
