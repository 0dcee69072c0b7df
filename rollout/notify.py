"""Telling people: chat, mail, pagers and webhooks, by the addresses that Apprise knows."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Literal

from terminals.monitor.config import SEVERITIES
from terminals.monitor.notify import UnknownAddress, deliver

from rollout.config import Notify

Severity = Literal["critical", "warning", "info"]
SECONDS = 15.0
"""Nobody who cannot be told keeps a rollback waiting longer."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of telling one receiver; ``error`` is one line without the address, which may be secret."""

    to: str
    ok: bool
    error: str = ""


def tell(
    receivers: Mapping[str, Notify], names: Sequence[str], *, title: str, body: str, severity: Severity
) -> list[Told]:
    """Tell the receivers called ``names``, all at the same time. Never raises: the outcome says who was told.

    A receiver whose own ``severity`` is above this one is left alone.
    """
    rank = SEVERITIES.index
    chosen = [name for name in names if rank(severity) >= rank(receivers[name].severity)]
    if not chosen:
        return []
    pool = ThreadPoolExecutor(len(chosen))
    running = {name: pool.submit(_tell, name, receivers[name], title, body, severity) for name in chosen}
    wait(running.values(), timeout=SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    return [
        future.result() if future.done() else Told(name, False, f"no answer within {SECONDS:g} s")
        for name, future in running.items()
    ]


def _tell(name: str, receiver: Notify, title: str, body: str, severity: Severity) -> Told:
    try:
        url = _address(receiver)
    except (OSError, UnicodeDecodeError) as error:
        return Told(name, False, f"{type(error).__name__}: {error}")
    try:
        reason = deliver(url, title, body, severity, markdown=True)
    except UnknownAddress:
        reason = "its address is none that Apprise knows"
    except (
        Exception
    ) as error:  # whatever a plugin does, the rollout goes on; its text may have the address in it
        reason = f"its plugin broke: {type(error).__name__}"
    return Told(name, not reason, reason)


def _address(receiver: Notify) -> str:
    if receiver.url is not None:
        return receiver.url
    assert receiver.url_file is not None
    mode = stat.S_IMODE(receiver.url_file.stat().st_mode)
    if mode & 0o077:
        raise PermissionError(f"{receiver.url_file} has mode {mode:04o}; it holds a secret: chmod 600")
    return receiver.url_file.read_text().strip()
