"""The one address of several hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rollout.authority import DAY
from rollout.config import Environment
from rollout.doctor.finding import Finding, open_to_others
from rollout.door import read_certificate, why_no_answer
from rollout.errors import ConfigError

SOON_DAYS = 14


def examine_door(environment: Environment) -> Iterator[Finding]:
    """Look at its certificate, and ask each of its hosts for every host of the environment."""
    door = environment.door
    if door is None:
        return
    subject = f"{environment.name} door"
    again = f"rollout door {environment.name}"
    tags = {name: host.tag for name, host in environment.hosts.items() if host.tag is not None}
    try:
        _, ends = read_certificate(door, tags.values())
    except ConfigError as error:
        text, _, remedy = error.message.partition("; ")
        yield Finding("wrong", "", subject, text, f"{remedy or 'bring both files'}, then: {again}")
        return
    if bad := open_to_others(subject, door.key):
        yield bad
    left = ends - time.time()
    text = (
        f"certificate {'' if left > 0 else 'was '}good until {time.strftime('%Y-%m-%d', time.gmtime(ends))}"
    )
    if left < SOON_DAYS * DAY:
        verdict = "warning" if left > 0 else "wrong"
        yield Finding(verdict, "", subject, text, f"bring another one, then: {again}")  # type: ignore[arg-type]
    else:
        yield Finding("ok", "", subject, text)
    for name, host in door.hosts.items():
        if why := why_no_answer(door, host):
            yield Finding("wrong", name, "door", why, again)
            continue
        lost = {at: why for at, tag in tags.items() if (why := why_no_answer(door, host, tag))}
        for at, why in lost.items():
            yield Finding(
                "wrong", name, "door", f"does not lead to {at}: {why}", f"see that it runs, then: {again}"
            )
        if not lost:
            yield Finding("ok", name, "door", f"leads to {', '.join(tags)}")
